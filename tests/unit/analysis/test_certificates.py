"""Certificates of servers: when they are valid, and for which names."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fastgw.analysis.certificates import is_covered
from fastgw.analysis.picture import PictureOptions, check_picture
from fastgw.credentials.pem import read_certificate
from fastgw.model.resource import Resource

Parse = Callable[[str], list[Resource]]
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
GATEWAY = """apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: gw}}
spec:
  servers:
  - port: {{number: 443, name: https, protocol: HTTPS}}
    hosts: {hosts}
    tls: {tls}
"""
KEY = ec.generate_private_key(ec.SECP256R1())
KEY_PEM = KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def make_certificate(names: tuple[str, ...], begins: datetime = NOW - DAY, ends: datetime = NOW + 365 * DAY) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example.com")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(KEY.public_key()).serial_number(1)
    builder = builder.not_valid_before(begins).not_valid_after(ends)
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ip_address(one)) if one[0].isdigit() else x509.DNSName(one) for one in names]
            ),
            critical=False,
        )
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def findings(parse: Parse, certificate: bytes, hosts: str = "[a.example.com]") -> list[tuple[str, str]]:
    data = {"tls.crt": certificate, "tls.key": KEY_PEM}
    entries = "".join(f"  {name}: {base64.b64encode(value).decode()}\n" for name, value in data.items())
    secret = f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: web}}\ndata:\n{entries}"
    text = GATEWAY.format(hosts=hosts, tls="{mode: SIMPLE, credentialName: web}") + secret
    found = check_picture(parse(text), PictureOptions({"istio": "ingressgateway"}, "istio-system"))
    return [(one.code, one.message) for one in found]


@pytest.mark.parametrize(
    ("begins", "ends", "words"),
    [
        (NOW - 90 * DAY, NOW - DAY, "has expired on"),
        (NOW - 90 * DAY, NOW + 29 * DAY, "expires on"),
        (NOW + DAY, NOW + 90 * DAY, "is not valid before"),
    ],
)
def test_not_valid(parse: Parse, begins: datetime, ends: datetime, words: str) -> None:
    [(code, message)] = findings(parse, make_certificate(("a.example.com",), begins, ends))
    assert code == "FGW0033"
    assert message.startswith(f'Secret "istio-system/web": the certificate {words}')


def test_valid_long_enough(parse: Parse) -> None:
    assert findings(parse, make_certificate(("a.example.com",), ends=NOW + 32 * DAY)) == []


@pytest.mark.parametrize(
    ("names", "hosts", "said"),
    [
        (("a.example.com",), '[a.example.com, "*"]', ""),
        (("*.example.com",), '[a.example.com, "*.example.com", "default/b.example.com"]', ""),
        (("*.example.com",), "[a.b.example.com]", 'the certificate is for "*.example.com", not for "a.b.example.com"'),
        (("a.example.com", "b.test"), '["*.example.com", b.test]', 'is for "a.example.com", "b.test", not for "*.example.com"'),
        (("192.0.2.1",), "[x.test]", 'is for "192.0.2.1", not for "x.test"'),
        ((), "[a.example.com]", 'is for no name at all, not for "a.example.com"'),
    ],
)
def test_names(parse: Parse, names: tuple[str, ...], hosts: str, said: str) -> None:
    found = findings(parse, make_certificate(names), hosts)
    assert [code for code, _ in found] == (["FGW0034"] if said else [])
    assert all(said in message for _, message in found)


def test_the_wildcard_is_one_label() -> None:
    assert is_covered("A.test", {"*.test"}) and not is_covered("test", {"*.test"}) and not is_covered(".test", {"*.test"})
    assert not is_covered("*.test", {"a.test"}) and not is_covered("*.a.test", {"*.test"})


def test_no_certificate() -> None:
    assert read_certificate(b"nothing") is None


def test_files(parse: Parse, tmp_path: Path) -> None:
    certificate, key, other = tmp_path / "c.pem", tmp_path / "k.pem", tmp_path / "o.pem"
    certificate.write_bytes(make_certificate(("b.example.com",)))
    key.write_bytes(KEY_PEM)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    other.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(*form))

    def said(private_key: Path) -> list[tuple[str, str, str]]:
        tls = f"{{mode: SIMPLE, serverCertificate: {certificate}, privateKey: {private_key}}}"
        text = GATEWAY.format(hosts="[a.example.com]", tls=tls)
        found = check_picture(parse(text), PictureOptions({"istio": "ingressgateway"}, "istio-system"))
        return [(one.severity, one.code, one.message) for one in found]

    assert said(key) == [("warning", "FGW0034", f'{certificate}: the certificate is for "b.example.com", not for "a.example.com"')]
    assert said(other) == [("error", "IST0161", f"{certificate} and {other}: the key does not belong to the certificate")]
    assert said(tmp_path / "nope") == [("warning", "IST0101", f"{tmp_path}/nope: No such file or directory")]
    assert said(Path("/dev/zero")) == [("error", "IST0161", "/dev/zero: not a regular file")]
