"""Where credentials are found, and how those that are not are told of."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from pki import mount

from fastgw.credentials.content import Content, CredentialError, CredentialMissing
from fastgw.credentials.names import Need, names_of_plan
from fastgw.credentials.places import PlaceOptions, Places
from fastgw.model.kinds.kubernetes import ConfigMap, Secret
from fastgw.model.origin import NOWHERE
from fastgw.model.plan import Chain, Cluster, Listener, Plan, TlsContext, UpstreamTls
from fastgw.model.resource import Resource

WEB = "kubernetes://istio-system/web"


def roots() -> Resource:
    spec = ConfigMap(data={"ca.crt": "a", "ca.crl": "r"})
    return Resource(kind="ConfigMap", api_version="v1", namespace="istio-system", name="roots", spec=spec, origin=NOWHERE)


def test_a_config_map_holds_a_ca_and_no_more() -> None:
    found = places(roots())
    assert found.read("configmap://istio-system/roots", Need.CA) == Content(ca=b"a", crl=b"r")
    assert found.read("configmap://roots", Need.CA) == Content(ca=b"a", crl=b"r")
    with pytest.raises(CredentialError, match="no private key"):
        found.read("configmap://roots", Need.PAIR)
    with pytest.raises(CredentialMissing, match="namespace istio-system only"):
        found.read("configmap://other/roots", Need.CA)


def secret(name: str, namespace: str = "istio-system", **entries: bytes) -> Resource:
    data = {key.replace("_", "."): base64.b64encode(value).decode() for key, value in entries.items()}
    spec = Secret(data=data)
    return Resource(kind="Secret", api_version="v1", namespace=namespace, name=name, spec=spec, origin=NOWHERE)


def places(*resources: Resource, **options: Any) -> Places:
    return Places(PlaceOptions(**options), resources)


def test_secrets_of_both_forms() -> None:
    found = places(
        secret("web", tls_crt=b"c", tls_key=b"k", ca_crt=b"a", ca_crl=b"r"), secret("old", cert=b"c", key=b"k", tls_crt=b"x")
    )
    assert found.read(WEB, Need.PAIR) == Content(b"c", b"k")
    assert found.read(WEB, Need.CA) == Content(ca=b"a", crl=b"r")
    assert found.read(WEB, Need.PAIR | Need.CA) == Content(b"c", b"k", b"a", b"r")
    assert found.read("kubernetes://old", Need.PAIR) == Content(b"c", b"k")


def test_a_ca_is_beside_the_secret_or_in_it() -> None:
    inside = secret("web", tls_crt=b"c", tls_key=b"k", cacert=b"inside")
    assert places(inside).read(f"{WEB}-cacert", Need.CA) == Content(ca=b"inside")
    beside = secret("web-cacert", ca_crt=b"beside", crl=b"r")
    assert places(inside, beside).read(f"{WEB}-cacert", Need.CA) == Content(ca=b"beside", crl=b"r")
    with pytest.raises(CredentialMissing, match='no CA: Secret "istio-system/web-cacert" or "web" has'):
        places(secret("web", tls_crt=b"c")).read(f"{WEB}-cacert", Need.CA)


def test_what_is_missing_says_where_it_was_looked_for() -> None:
    found = places(secret("web", "elsewhere", tls_crt=b"c", tls_key=b"k"))
    for name, words in {
        WEB: 'Secret "istio-system/web" not found; there is one in namespace elsewhere',
        "kubernetes://elsewhere/web": "looked for in namespace istio-system only",
        "file-cert:/no/such.crt~/no/such.key": "/no/such.crt: No such file or directory",
        "kubernetes://web2": 'Secret "istio-system/web2" not found',
        "mesh": "--mesh-cert",
        "other": "no kind of credential",
    }.items():
        with pytest.raises(CredentialMissing, match=words):
            found.read(name, Need.PAIR)


def test_what_is_there_and_incomplete() -> None:
    found = places(secret("half", tls_crt=b"c"), secret("none"), secret("web", tls_crt=b"c", tls_key=b"k"))
    for name, need, words in (
        ("half", Need.PAIR, "tls.crt and tls.key are needed both"),
        ("none", Need.PAIR, "neither tls.crt and tls.key nor cert and key"),
        ("web", Need.CA, "neither ca.crt nor cacert"),
    ):
        with pytest.raises(CredentialError, match=words) as caught:
            found.read(f"kubernetes://istio-system/{name}", need)
        assert not caught.value.missing


def test_mounted_directories_after_secrets(tmp_path: Path) -> None:
    mount(tmp_path / "web", "1", tls_crt=b"c1", tls_key=b"k1", ca_crt=b"a1", token=b"unused")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "cert").write_bytes(b"c")
    (tmp_path / "plain" / "key").write_bytes(b"k")
    found = places(directories=(str(tmp_path),))
    assert found.read(WEB, Need.PAIR | Need.CA) == Content(b"c1", b"k1", b"a1")
    mount(tmp_path / "web", "2", tls_crt=b"c2", tls_key=b"k2")
    assert found.read(WEB, Need.PAIR) == Content(b"c2", b"k2")
    assert found.read("kubernetes://plain", Need.PAIR) == Content(b"c", b"k")
    found.use([secret("web", tls_crt=b"doc", tls_key=b"doc")])
    assert found.read(WEB, Need.PAIR) == Content(b"doc", b"doc")
    with pytest.raises(CredentialMissing):
        found.read("kubernetes://istio-system/..", Need.PAIR)


def test_files_and_the_mesh(tmp_path: Path) -> None:
    for name in ("cert-chain.pem", "key.pem", "root-cert.pem", "crl.pem"):
        (tmp_path / name).write_bytes(name[:3].encode())
    found = places(mesh_directory=str(tmp_path))
    assert found.read("mesh", Need.PAIR | Need.CA) == Content(b"cer", b"key", b"roo")
    assert found.read(f"file-cert:{tmp_path}/cert-chain.pem~{tmp_path}/key.pem", Need.PAIR) == Content(b"cer", b"key")
    assert found.read(f"file-ca:{tmp_path}/root-cert.pem", Need.CA) == Content(ca=b"roo")
    assert found.read(f"file-ca:{tmp_path}/root-cert.pem~{tmp_path}/crl.pem", Need.CA) == Content(ca=b"roo", crl=b"crl")
    (tmp_path / "key.pem").write_bytes(b"")
    with pytest.raises(CredentialError, match=r"key.pem: the file is empty"):
        found.read("mesh", Need.PAIR)
    with pytest.raises(CredentialError, match="not a regular file"):
        found.read("file-ca:/dev/zero", Need.CA)
    watched = found.watched(["mesh", WEB, "file-ca:/x/ca~/x/crl", "file-cert:/y/c~/y/k"])
    assert watched == sorted(["/x/ca", "/x/crl", "/y/c", "/y/k", str(tmp_path)])


def test_the_names_of_a_plan() -> None:
    context = TlsContext("ns/gw#0", certificates=("b", "a"), ca="a", client_auth="require")
    plan = Plan(
        [Listener("l", "", 443, "HTTPS", [], [Chain("c", tls="terminate", tls_context=context), Chain("plain")])],
        clusters={"one": Cluster("one", "h", 1, tls=UpstreamTls("mesh", "mesh")), "two": Cluster("two", "h", 1, tls=UpstreamTls())},
    )
    assert names_of_plan(plan) == {"a": Need.PAIR | Need.CA, "b": Need.PAIR, "mesh": Need.PAIR | Need.CA}
