"""The development CA: what it makes is what the gateway and clients can use, and making it again changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from fastgw.cli.main import group
from fastgw.credentials.keeper import Keeper
from fastgw.credentials.names import Need
from fastgw.credentials.places import PlaceOptions, Places


def certs(*words: str) -> Result:
    return CliRunner().invoke(group, ["certs", "dev", *words])


def snapshot(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_what_is_made_can_be_served(tmp_path: Path) -> None:
    made = certs(str(tmp_path), "--host", "Web.example", "--host", "*.web.example", "--host", "10.0.0.1", "--credential", "web")
    assert made.exit_code == 0 and made.stdout.count("made  ") == 2
    keeper = Keeper(Places(PlaceOptions(directories=(str(tmp_path / "secrets"),))))
    pair = keeper.status("kubernetes://istio-system/web", Need.PAIR)
    assert pair.facts is not None and pair.facts.certificate is not None
    assert pair.facts.certificate.names == {"web.example", "*.web.example", "10.0.0.1"} and pair.facts.certificate.is_valid()
    assert keeper.status("kubernetes://istio-system/web-cacert", Need.CA).usable
    ca, server = load(tmp_path / "ca.crt"), load(tmp_path / "secrets/web/tls.crt")
    server.verify_directly_issued_by(ca)
    usage = server.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert {(path.stat().st_mode & 0o777) for path in (tmp_path / "ca.key", tmp_path / "secrets/web/tls.key")} == {0o600}
    assert not (tmp_path / "secrets" / "ca.key").exists()


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    words = (str(tmp_path), "--host", "a.example", "--client", "alice")
    certs(*words)
    before = snapshot(tmp_path)
    again = certs(*words)
    assert again.exit_code == 0 and again.stdout.count("kept  ") == 3 and snapshot(tmp_path) == before
    more = certs(*words, "--host", "b.example", "--credential", "a.example")
    assert more.exit_code == 0
    changed = {name for name, data in snapshot(tmp_path).items() if before.get(name) != data}
    assert changed == {"secrets/a.example/tls.crt", "secrets/a.example/tls.key"}, "other hosts, another certificate"


def test_what_cannot_be_used_is_made_again(tmp_path: Path) -> None:
    words = (str(tmp_path), "--host", "a.example")
    certs(*words)
    (tmp_path / "secrets/a.example/tls.key").write_bytes(b"")
    assert "made  " in certs(*words).stdout
    assert (tmp_path / "secrets/a.example/tls.key").stat().st_size > 0


def test_a_client_is_no_server(tmp_path: Path) -> None:
    assert certs(str(tmp_path), "--client", "alice").exit_code == 0
    made = load(tmp_path / "clients/alice/tls.crt")
    assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    made.verify_directly_issued_by(load(tmp_path / "ca.crt"))
    assert not (tmp_path / "secrets").exists()


def test_a_damaged_ca_is_not_overwritten(tmp_path: Path) -> None:
    certs(str(tmp_path), "--host", "a.example")
    (tmp_path / "ca.key").write_bytes(b"mine")
    refused = certs(str(tmp_path), "--host", "a.example")
    assert refused.exit_code == 1 and "remove both for a new CA" in refused.stderr
    assert (tmp_path / "ca.key").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [((), "nothing to make"), (("--host", "a", "--credential", "../up"), "--credential"), (("--client", "a/b"), "--client")],
)
def test_usage(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    refused = certs(str(tmp_path / "new"), *words)
    assert refused.exit_code == 2 and said in refused.stderr and os.listdir(tmp_path) == []
