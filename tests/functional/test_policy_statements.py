"""Every statement of Istio's about traffic policy (sections I to N, Q, R) has a test on live traffic, or a reason why it has none.

Tests bear the numbers in their names (``test_j4_j5_...``), cases of tables in their ids (``"M6 another scheme"``).
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from fastgw.image.layout import lib

TESTS = Path(__file__).parents[1]
STATEMENTS = {"I": 25, "J": 15, "K": 21, "M": 16, "N": 13, "Q": 17, "R": 5}
# tests that do not bear the number, and what cannot be shown with real peers: file, function
ELSEWHERE = {
    "I21": ("functional/test_policy_answers.py", "test_direct_responses_and_redirects_have_no_flag"),
    "I25": ("functional/test_overload.py", "test_an_overloaded_worker_refuses_a_share_and_recovers"),
    "K17": ("functional/test_proxy_protocol.py", "test_requests_behind_a_proxy"),
    "M1": ("functional/test_policy_actions.py", "test_to_https"),
    "Q13": ("functional/test_upstreams.py", "test_a_kubernetes_service_and_its_endpoint_slices"),
    "Q15": ("unit/image/test_image_balance.py", "test_a_new_endpoint_warms_up"),  # it takes minutes, of a clock of its own
    "Q17": ("functional/test_upstream_tls.py", "test_names"),
}
NOT_HERE = {
    "I15": "there is no RequestAuthentication: nothing that a token says is believed (G14)",
    "I16": "there is no external authorisation",
    "Q14": "labels of Kubernetes for stateful pods have no effect: consistentHash and the annotation sticky keep clients",
}
# of every flag of a request the test that finds it in the log
FLAGS = dict.fromkeys(("NR", "NC", "UH", "UF", "URX", "UC", "UR", "UT", "FI", "DI", "UPE"), "test_row") | {
    "UO": "test_i7_the_cluster_is_full",
    "DC": "test_i13_the_client_is_gone",
    "SI": "test_i23_silence_within_an_answer",
    "DPE": "test_malformed_in_http1",
}
FLAGS_ELSEWHERE = {"OM": "functional/test_overload.py", "RL": "functional/test_rate_limits.py"}


@cache
def text_of(file: str) -> str:
    return (TESTS / file).read_text()


@cache
def covered() -> frozenset[str]:
    """The statements that names and ids of the functional tests begin with."""
    found: set[str] = set()
    for path in (TESTS / "functional").glob("test_*.py"):
        if path == Path(__file__):
            continue
        text = text_of(f"functional/{path.name}")
        begun = re.findall(r"^def test_((?:[a-r]\d{1,2}_)+)", text, re.M)
        begun += re.findall(r'^ +(?:\(|\[)?"((?:[A-R]\d{1,2}[ "])+)', text, re.M)
        found |= {number.upper() for one in begun for number in re.findall(r"[A-Ra-r]\d+", one)}
    return frozenset(found)


@pytest.mark.parametrize("section", STATEMENTS)
def test_every_statement_has_a_test_or_a_reason(section: str) -> None:
    wanted = {f"{section}{number}" for number in range(1, STATEMENTS[section] + 1)}
    assert not wanted - covered() - ELSEWHERE.keys() - NOT_HERE.keys(), "without a test"
    assert not wanted & covered() & NOT_HERE.keys(), "there is a test by now"


@pytest.mark.parametrize("number", ELSEWHERE)
def test_what_is_tested_elsewhere_is(number: str) -> None:
    file, function = ELSEWHERE[number]
    assert f"\ndef {function}(" in text_of(file)


def test_every_flag_is_provoked() -> None:
    known = {name.removeprefix("FGW_F_") for name in dir(lib) if name.startswith("FGW_F_")}
    assert known == FLAGS.keys() | FLAGS_ELSEWHERE.keys()
    assert all(f'"{flag}"' in text_of(file) for flag, file in FLAGS_ELSEWHERE.items())
    text = text_of("functional/test_policy_answers.py")
    for flag, function in FLAGS.items():
        assert f"\ndef {function}(" in text and re.search(rf'["{{,]{flag}["}},]', text), flag
