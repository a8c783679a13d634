"""Good content stays in use while what follows it is bad; nothing is checked twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pki import Party, mount

from fastgw.credentials.keeper import Keeper
from fastgw.credentials.names import Need
from fastgw.credentials.places import PlaceOptions, Places

FIRST, SECOND = Party("a.example.com"), Party("a.example.com")
WEB = "kubernetes://istio-system/web"
NEEDS = {WEB: Need.PAIR}


def settle(directory: Path) -> None:
    """Make all files look old, so that their times can be trusted."""
    for path in directory.rglob("*"):
        os.utime(path, (1, 1))


def keeper(directory: Path) -> Keeper:
    return Keeper(Places(PlaceOptions(directories=(str(directory),))))


def test_missing_then_good_then_rotated(tmp_path: Path) -> None:
    kept = keeper(tmp_path)
    contents, [status] = kept.collect(NEEDS)
    assert contents == {} and status.missing and not status.usable and not status.held
    mount(tmp_path / "web", "1", tls_crt=FIRST.chain, tls_key=FIRST.key)
    contents, [status] = kept.collect(NEEDS)
    assert contents[WEB].chain == FIRST.chain and status.usable and status.trouble() == ""
    mount(tmp_path / "web", "2", tls_crt=SECOND.chain, tls_key=SECOND.key)
    contents, [status] = kept.collect(NEEDS)
    assert contents[WEB].chain == SECOND.chain and status.usable and kept.checks == 2


@pytest.mark.parametrize("harm", ["half", "mismatch", "gone", "empty"])
def test_bad_content_does_not_displace_good(tmp_path: Path, harm: str) -> None:
    web = tmp_path / "web"
    web.mkdir()
    (web / "tls.crt").write_bytes(FIRST.chain)
    (web / "tls.key").write_bytes(FIRST.key)
    kept = keeper(tmp_path)
    kept.collect(NEEDS)
    if harm == "half":
        (web / "tls.crt").write_bytes(SECOND.chain[:100])
    elif harm == "mismatch":
        (web / "tls.crt").write_bytes(SECOND.chain)
    elif harm == "empty":
        (web / "tls.key").write_bytes(b"")
    else:
        (web / "tls.crt").unlink()
        (web / "tls.key").unlink()
        web.rmdir()
    for _ in range(2):
        contents, [status] = kept.collect(NEEDS)
        assert contents[WEB].key == FIRST.key and status.held and status.usable
        assert status.missing == (harm == "gone") and status.trouble().endswith("; its content of before stays in use")
        assert kept.status(WEB, Need.PAIR) is status
    web.mkdir(exist_ok=True)
    (web / "tls.key").write_bytes(SECOND.key)
    (web / "tls.crt").write_bytes(SECOND.chain)
    contents, [status] = kept.collect(NEEDS)
    assert contents[WEB].key == SECOND.key and not status.held and status.problem == ""


def test_one_that_is_bad_is_alone_with_it(tmp_path: Path) -> None:
    mount(tmp_path / "web", "1", tls_crt=FIRST.chain, tls_key=FIRST.key)
    mount(tmp_path / "bad", "1", tls_crt=FIRST.chain, tls_key=SECOND.key)
    bad = WEB.replace("web", "bad")
    contents, [first, second] = keeper(tmp_path).collect({bad: Need.PAIR, WEB: Need.PAIR})
    assert list(contents) == [WEB] and first.problem == "the key does not belong to the certificate" and second.usable


def test_only_what_has_changed_is_read_and_checked(tmp_path: Path) -> None:
    for number in range(5):
        mount(tmp_path / f"s{number}", "1", tls_crt=FIRST.chain, tls_key=FIRST.key)
    settle(tmp_path)
    needs = {f"kubernetes://istio-system/s{number}": Need.PAIR for number in range(5)}
    kept = keeper(tmp_path)
    before, _ = kept.collect(needs)
    assert kept.checks == 5
    mount(tmp_path / "s3", "2", tls_crt=SECOND.chain, tls_key=SECOND.key)
    after, _ = kept.collect(needs)
    assert kept.checks == 6 and [after[name].key is before[name].key for name in needs] == [True, True, True, False, True]


def test_a_successor_knows_what_was_good(tmp_path: Path) -> None:
    mount(tmp_path / "web", "1", tls_crt=FIRST.chain, tls_key=FIRST.key)
    before, _ = keeper(tmp_path).collect(NEEDS)
    mount(tmp_path / "web", "2", tls_crt=SECOND.chain[:50], tls_key=SECOND.key)
    successor = keeper(tmp_path)
    successor.restore(before)
    for _ in range(2):
        contents, [status] = successor.collect(NEEDS)
        assert contents[WEB].chain == FIRST.chain and status.held
    _, [status] = keeper(tmp_path).collect(NEEDS)
    assert not status.usable, "without it, there is nothing"


def test_what_is_not_needed_is_forgotten(tmp_path: Path) -> None:
    mount(tmp_path / "web", "1", tls_crt=FIRST.chain, tls_key=FIRST.key)
    kept = keeper(tmp_path)
    kept.collect(NEEDS)
    assert kept.collect({}) == ({}, [])
    (tmp_path / "web" / "..data").unlink()
    _, [status] = kept.collect(NEEDS)
    assert not status.usable and not status.held
