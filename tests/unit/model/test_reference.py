"""The table of supported fields covers every field, and says nothing of fields that do not exist."""

from __future__ import annotations

import pytest

from fastgw.model.kinds import KINDS
from fastgw.model.reference import EFFECTS, NONE, NOT_YET, YES, effect_of, markdown, rows

BY_KIND = {info.kind: info for info in KINDS.values()}


@pytest.mark.parametrize("kind", sorted(EFFECTS))
def test_effects_are_of_fields_that_exist(kind: str) -> None:
    paths = [row.path for row in rows(BY_KIND[kind])]
    for prefix in EFFECTS[kind]:
        assert not prefix or any(path == prefix or path.startswith((f"{prefix}.", f"{prefix}[")) for path in paths), prefix


@pytest.mark.parametrize("kind", sorted(kind for kind, info in BY_KIND.items() if info.spec is not None))
def test_each_field_once(kind: str) -> None:
    found = rows(BY_KIND[kind])
    assert found
    assert len({row.path for row in found}) == len(found)
    assert {row.effect for row in found} <= {YES, NOT_YET, NONE, "as there"}
    assert all(row.type for row in found)


def test_effect_of_the_longest_prefix() -> None:
    gateway = BY_KIND["Gateway"]
    assert effect_of(gateway, "servers[].tls.mode") == YES
    assert effect_of(gateway, "servers[].tls.tlsCertificates[].caCertificates") == NONE
    assert effect_of(gateway, "servers[].hosts[]") == YES
    assert effect_of(BY_KIND["PeerAuthentication"], "mtls.mode") == NONE
    assert effect_of(BY_KIND["AuthorizationPolicy"], "rules[]") == NOT_YET


def test_markdown() -> None:
    text = markdown()
    assert "| `http[].match[].uri` | exact, prefix or regex | yes |" in text
    assert "| `subsets[].trafficPolicy` | as `trafficPolicy` | as there |" in text
    assert all(line.count("|") == 4 for line in text.splitlines() if line.startswith("|"))
    assert all(f"| {kind} |" in text for kind in BY_KIND)
