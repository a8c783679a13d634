"""What makes PEM texts usable, and what is said of those that are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from pki import Party

from fastgw.credentials.content import Content, CredentialError
from fastgw.credentials.pem import examine, validity_problem
from fastgw.credentials.status import Certificate

ROOT = Party("root")
MIDDLE = Party("middle", ROOT)
LEAF = Party("a.example.com", MIDDLE)
RSA = Party("rsa.example.com", kind="rsa")


def problem(content: Content) -> str:
    with pytest.raises(CredentialError) as caught:
        examine(content)
    return str(caught.value)


@pytest.mark.parametrize("party", [LEAF, RSA])
def test_a_pair_that_fits(party: Party) -> None:
    facts = examine(Content(party.chain, party.key))
    assert facts.certificate is not None and facts.ca is None and facts.notes == ()
    assert facts.certificate.serial == f"{party.certificate.serial_number:x}"
    assert facts.certificate.names == {"a.example.com" if party is LEAF else "rsa.example.com"}


def test_pairs_that_do_not_fit() -> None:
    assert problem(Content(LEAF.chain, MIDDLE.key)) == "the key belongs to certificate 2 of the chain, which has to come first"
    assert problem(Content(LEAF.chain, ROOT.key)) == "the key does not belong to the certificate"
    assert problem(Content(LEAF.chain, RSA.key)) == "the key does not belong to the certificate"
    locked = LEAF.key_pem(serialization.BestAvailableEncryption(b"secret"))
    assert problem(Content(LEAF.chain, locked)).startswith("the key is encrypted with a password")
    assert problem(Content(LEAF.chain[:200], LEAF.key)) == "the certificate is no PEM certificate"
    assert problem(Content(LEAF.chain, LEAF.key[:60])) == "the key is no PEM private key"
    assert problem(Content(LEAF.chain, b"")) == "the key is no PEM private key"
    assert problem(Content(b"", LEAF.key)) == "the certificate is no PEM certificate"


def test_every_cut_of_a_file_is_noticed() -> None:
    """A file that is being written may end anywhere."""
    whole = Content(LEAF.pem, LEAF.key)
    for cut in range(0, len(LEAF.pem) - 1, 7):
        assert problem(Content(LEAF.pem[:cut], LEAF.key)), cut
    for cut in range(0, len(LEAF.key) - 1, 7):
        assert problem(Content(LEAF.pem, LEAF.key[:cut])), cut
    assert examine(whole)


def test_a_chain_out_of_order_is_told_of() -> None:
    assert examine(Content(LEAF.pem + MIDDLE.pem + ROOT.pem, LEAF.key)).notes == ()
    [note] = examine(Content(LEAF.pem + ROOT.pem + MIDDLE.pem, LEAF.key)).notes
    assert note.startswith("certificate 2 of the chain is not the issuer of certificate 1")


def test_cas_and_revocations() -> None:
    facts = examine(Content(ca=ROOT.pem + MIDDLE.pem, crl=ROOT.crl(3) + MIDDLE.crl(2)))
    assert facts.ca is not None and facts.ca.names == {"root"}
    assert facts.crl_until is not None and facts.crl_until - datetime.now(UTC) < timedelta(days=2)
    assert problem(Content(ca=b"junk")) == "the CA is no PEM certificate"
    assert problem(Content(ca=ROOT.pem, crl=ROOT.pem)) == "the list of revoked certificates is no PEM CRL"


def test_validity_in_words() -> None:
    now = datetime(2030, 5, 1, 12, tzinfo=UTC)

    def said(begins: int, ends: int) -> str:
        return validity_problem(Certificate(now + timedelta(days=begins), now + timedelta(days=ends)), now, 31)

    assert said(-1, 40) == ""
    assert said(-1, 3) == "expires on 2030-05-04, in 3 days"
    assert said(-9, -1) == "has expired on 2030-04-30"
    assert said(1, 40) == "is not valid before 2030-05-02 12:00 UTC"
