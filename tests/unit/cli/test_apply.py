"""What ``fastgw apply`` says of a trial."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fastgw.cli import apply

CANARY = {"phase": "canary", "generation": 7, "secondsLeft": 3.0, "error": ""}


@pytest.mark.parametrize(
    ("last", "says", "code"),
    [
        ({"phase": "served", "requests": 9, "errors": 0}, "served as generation 7, until the files change; 0 of 9", 0),
        ({"phase": "refused", "error": "9 of 9"}, "not served, everything is as before: 9 of 9", 1),
        ({"phase": "none", "generation": 0}, "upgraded or started anew", 1),
    ],
)
def test_the_end_of_a_trial(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], last: dict[str, Any], says: str, code: int
) -> None:
    answers: Iterator[dict[str, Any]] = iter([CANARY | {"phase": "compiling"}, CANARY, CANARY | last])
    monkeypatch.setattr(apply, "answer_of", lambda *asked: next(answers))
    monkeypatch.setattr(apply, "POLL_S", 0.0)
    answer = apply.follow_trial("unix:x", 1, quiet=False)
    if code:
        with pytest.raises(SystemExit, match=str(code)):
            apply.report(answer, "")
    else:
        apply.report(answer, "")
    said = capsys.readouterr()
    assert "generation 7 is tried by 1 worker for 3 s" in said.err and says in said.out + said.err
