"""Durations as Istio's resources write them."""

from __future__ import annotations

import pytest

from fastgw.model.duration import parse_ms, parse_ns


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        ("10s", 10_000_000_000),
        ("1.5h", 5_400_000_000_000),
        ("100ms", 100_000_000),
        ("1h30m", 5_400_000_000_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("3us", 3_000),
        ("0s", 0),
        ("-2s", -2_000_000_000),
        ("0.0001s", 100_000),
    ],
)
def test_nanoseconds(text: str, expected_ns: int) -> None:
    assert parse_ns(text) == expected_ns


def test_milliseconds_are_cut_off() -> None:
    assert parse_ms("1.9ms") == 1
    assert parse_ms("1500us") == 1


@pytest.mark.parametrize("text", ["", "10", "s", "1 s", "1d", "1s ", "ten", "1.2.3s", "."])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_ns(text)
