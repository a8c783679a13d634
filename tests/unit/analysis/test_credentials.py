"""Credentials of Gateways: where they are looked for, and what a usable one holds."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fastgw.analysis.picture import PictureOptions, check_picture
from fastgw.credentials.content import CredentialError, content_of_entries
from fastgw.credentials.names import Need
from fastgw.credentials.pem import examine
from fastgw.model.resource import Resource

Parse = Callable[[str], list[Resource]]

GATEWAY = """apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [a.example.com]
    tls: TLS
"""
SECRET = """---
apiVersion: v1
kind: Secret
metadata: {name: web}
data:
"""


def make_pair() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example.com")])
    begin = datetime(2024, 1, 1)
    alternative = x509.SubjectAlternativeName([x509.DNSName("a.example.com")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begin).not_valid_after(begin + timedelta(days=36500))
    builder = builder.add_extension(alternative, critical=False)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate, key.private_bytes(*form)


CERTIFICATE, KEY = make_pair()
OTHER_KEY = make_pair()[1]


def secret(**entries: bytes) -> str:
    lines = [f"  {name.replace('_', '.')}: {base64.b64encode(value).decode()}\n" for name, value in entries.items()]
    return SECRET + "".join(lines)


def messages(resources: list[Resource], directories: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    options = PictureOptions({"istio": "ingressgateway"}, "istio-system", list(directories))
    return [(found.code, found.message) for found in check_picture(resources, options)]


def gateway(tls: str) -> str:
    return GATEWAY.replace("TLS\n", tls + "\n").replace("protocol: HTTP{", "protocol: HTTPS}")


def test_usable(parse: Parse) -> None:
    text = gateway("{mode: SIMPLE, credentialName: web}") + secret(tls_crt=CERTIFICATE, tls_key=KEY)
    assert messages(parse(text)) == []


@pytest.mark.parametrize("name", ["web", "kubernetes://web", "kubernetes://istio-system/web"])
def test_forms_of_the_name(parse: Parse, name: str) -> None:
    text = gateway(f'{{mode: SIMPLE, credentialName: "{name}"}}')
    assert messages(parse(text)) == [("IST0101", 'Secret "istio-system/web" not found')]
    assert messages(parse(text + secret(cert=CERTIFICATE, key=KEY))) == []


def test_credentials_that_are_no_secrets(parse: Parse) -> None:
    assert messages(parse(gateway('{mode: SIMPLE, credentialName: "builtin://"}'))) == []


def test_other_namespace(parse: Parse) -> None:
    text = gateway('{mode: SIMPLE, credentialName: "kubernetes://other/web"}')
    assert messages(parse(text)) == [], "the compiler's to report"
    elsewhere = secret(cert=CERTIFICATE, key=KEY).replace("{name: web}", "{name: web, namespace: other}")
    text = gateway("{mode: SIMPLE, credentialName: web}") + elsewhere
    assert messages(parse(text)) == [("IST0101", 'Secret "istio-system/web" not found; there is one in namespace other')]


def test_each_of_several_names(parse: Parse) -> None:
    text = gateway("{mode: SIMPLE, credentialNames: [web, rsa]}") + secret(cert=CERTIFICATE, key=KEY)
    assert messages(parse(text)) == [("IST0101", 'Secret "istio-system/rsa" not found')]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"tls.crt": CERTIFICATE, "tls.key": KEY}, ""),
        ({"cert": CERTIFICATE, "key": KEY, "tls.crt": b"x"}, ""),
        ({}, "it holds neither tls.crt and tls.key nor cert and key"),
        ({"tls.crt": CERTIFICATE}, "tls.crt and tls.key are needed both"),
        ({"tls.crt": CERTIFICATE, "tls.key": b""}, "tls.crt and tls.key are needed both"),
        ({"cert": CERTIFICATE, "tls.key": KEY}, "cert and key are needed both"),
        ({"tls.crt": b"junk", "tls.key": KEY}, "the certificate is no PEM certificate"),
        ({"tls.crt": CERTIFICATE, "tls.key": b"junk"}, "the key is no PEM private key"),
        ({"tls.crt": CERTIFICATE, "tls.key": OTHER_KEY}, "the key does not belong to the certificate"),
    ],
)
def test_pairs(content: dict[str, bytes], problem: str) -> None:
    try:
        examine(content_of_entries(content, Need.PAIR))
    except CredentialError as error:
        assert str(error) == problem
    else:
        assert problem == ""


def test_not_base64(parse: Parse) -> None:
    text = gateway("{mode: SIMPLE, credentialName: web}") + SECRET + "  tls.crt: '%%%'\n"
    assert messages(parse(text)) == [("IST0161", 'Secret "istio-system/web": data["tls.crt"] is not base64')]


@pytest.mark.parametrize("where", ["web", "web-cacert"])
def test_client_ca(parse: Parse, where: str) -> None:
    text = gateway("{mode: MUTUAL, credentialName: web}") + secret(tls_crt=CERTIFICATE, tls_key=KEY)
    missing = 'no CA: Secret "istio-system/web-cacert" or "web" has to hold ca.crt'
    assert messages(parse(text)) == [("IST0101", missing)]
    encoded = base64.b64encode(CERTIFICATE).decode()
    if where == "web":
        text += f"  ca.crt: {encoded}\n"
    else:
        text += SECRET.replace("{name: web}", "{name: web-cacert}") + f"  cacert: {encoded}\n"
    assert messages(parse(text)) == []


def test_mounted_directory(parse: Parse, tmp_path: Path) -> None:
    resources = parse(gateway("{mode: SIMPLE, credentialName: web}"))
    (tmp_path / "web").mkdir()
    assert messages(resources, (str(tmp_path),))[0][0] == "IST0161"
    (tmp_path / "web" / "tls.crt").write_bytes(CERTIFICATE)
    (tmp_path / "web" / "tls.key").write_bytes(KEY)
    assert messages(resources, (str(tmp_path),)) == []


def test_name_that_leaves_the_directory(parse: Parse, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "tls.crt").write_bytes(CERTIFICATE)
    resources = parse(gateway('{mode: SIMPLE, credentialName: ".."}'))
    assert messages(resources, (str(tmp_path / "inside"),)) == [("IST0101", 'Secret "istio-system/.." not found')]


def test_gateways_of_others_are_not_our_concern(parse: Parse) -> None:
    text = gateway("{mode: SIMPLE, credentialName: web}").replace("spec:\n", "spec:\n  selector: {istio: egress}\n")
    assert messages(parse(text)) == []
