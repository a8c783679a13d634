"""Restart delays (requirement J4): free at first, 1 s doubling to 30 s for one that keeps dying, forgiven after a good minute."""

from __future__ import annotations

from fastgw.supervisor.backoff import Backoff


def delays(crashes: list[tuple[float, float]]) -> list[float]:
    backoff = Backoff()
    return [backoff.delay_s(now, lived) for now, lived in crashes]


def test_five_crashes_within_a_minute_are_free_and_the_next_wait() -> None:
    assert delays([(float(i), 0.1) for i in range(12)]) == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 30, 30]


def test_crashes_far_apart_are_always_free() -> None:
    assert delays([(13.0 * i, 12.0) for i in range(20)]) == [0.0] * 20


def test_a_worker_that_ran_for_a_minute_starts_afresh() -> None:
    crashes = [(float(i), 0.1) for i in range(7)] + [(200.0, 61.0), (201.0, 0.1)]
    assert delays(crashes) == [0, 0, 0, 0, 0, 1, 2, 0, 0]
