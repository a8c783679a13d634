"""The whole picture in one call: the same with and without a memory; every code of Istio that is promised is found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastgw.analysis.examine import ExamineMemory, ExamineOptions, examine, examine_paths
from fastgw.analysis.picture import Interrupted
from fastgw.compiler.compile import CompileCache, CompileOptions, compile_plan
from fastgw.credentials.development import DevelopmentCa
from fastgw.model.codes import CODES
from fastgw.model.diagnostic import Diagnostic
from fastgw.sources.files import FileCache, load_paths

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests" / "golden" / "diagnostics"

SERVICE = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{host}]
  gateways: [gw]
  http:
  - match: [{{uri: {{prefix: {prefix}}}}}]
    route: [{{destination: {{host: 10.0.0.1, port: {{number: 80}}}}}}]
"""
GATEWAY = """apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
"""

RULE = """apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: r, namespace: istio-system}
spec: {host: api.test}
"""


class Box:
    """A configuration that is examined again and again, as a running gateway does it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files, self.compiled, self.memory = FileCache(), CompileCache(), ExamineMemory()
        self.write("gw", GATEWAY)

    def write(self, name: str, text: str) -> None:
        (self.directory / f"{name}.yaml").write_text(text)

    def service(self, name: str, prefix: str, host: str = "shop.test") -> None:
        self.write(name, SERVICE.format(name=name, prefix=prefix, host=host))

    def again(self) -> list[Diagnostic]:
        """What is found now, the same as without any memory."""
        resources = load_paths([str(self.directory)], "istio-system", self.files).resources
        plan = compile_plan(resources, CompileOptions(), self.compiled).plan
        found = examine(resources, plan, ExamineOptions(), self.memory)
        assert found == examine(resources, plan, ExamineOptions())
        return found


def codes(found: list[Diagnostic]) -> list[str]:
    return sorted(one.code for one in found)


def test_changes_are_seen(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.service("a", "/x/")
    assert codes(box.again()) == []
    box.service("b", "/x/y/")
    assert codes(box.again()) == ["FGW0025", "FGW0026"]
    assert codes(box.again()) == ["FGW0025", "FGW0026"]
    box.service("a", "/z/")
    assert codes(box.again()) == ["FGW0025"]
    box.service("b", "/x/y/", host="other.test")
    assert codes(box.again()) == []


def test_a_destination_rule_of_a_host_that_only_dns_knows_is_at_work(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.service("a", "/")
    box.write("rule", RULE)
    assert codes(box.again()) == ["IST0174"]
    box.write("a", SERVICE.format(name="a", prefix="/", host="shop.test").replace("10.0.0.1", "api.test"))
    assert codes(box.again()) == []


def test_what_is_gone_is_forgotten(tmp_path: Path) -> None:
    box = Box(tmp_path)
    for round_number in range(20):
        box.service("a", f"/{round_number}/")
        box.again()
    assert len(box.memory._last) < 10


def test_a_round_that_is_given_up_loses_nothing(tmp_path: Path) -> None:
    box = Box(tmp_path)
    for number in range(5):
        box.service(f"s{number}", f"/{number}/", host=f"h{number}.test")
    box.service("same", "/1/more", host="h1.test")
    expected = codes(box.again())
    questions, patience = 0, 0

    def is_urgent() -> bool:
        nonlocal questions
        questions += 1
        return questions > patience

    box.memory, given_up = ExamineMemory(is_urgent), 0
    while True:
        questions = 0
        try:
            assert codes(box.again()) == expected
            break
        except Interrupted:
            given_up, patience = given_up + 1, patience + 3
    assert expected and given_up > 2
    # what was found before is not looked for again: one question for each check is all that is left
    questions, patience = 0, 11
    assert codes(box.again()) == expected


def test_places_move_with_the_text(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.service("a", "/x/")
    box.service("b", "/x/y/")
    before = [one.origin.line for one in box.again() if one.code == "FGW0026"]
    text = SERVICE.format(name="b", prefix="/x/y/", host="shop.test")
    box.write("b", f"# moved\n{text}")
    assert [one.origin.line - 1 for one in box.again() if one.code == "FGW0026"] == before


@pytest.mark.parametrize(
    "code",
    [
        "IST0101", "IST0106", "IST0112", "IST0130", "IST0131", "IST0132", "IST0138", "IST0145", "IST0149", "IST0161", "IST0162",
        "IST0173", "IST0174",
    ],
)  # fmt: skip
def test_codes_of_istio_have_a_golden_case(code: str) -> None:
    assert any(f"[{code}]" in path.read_text() for path in GOLDEN.glob("*/expected.txt"))


def test_our_codes_of_the_whole_picture_have_a_golden_case() -> None:
    ours = {code for code in CODES if re.fullmatch(r"FGW00(2[4-9]|3[0-2])", code)}
    found = {code for path in GOLDEN.glob("*/expected.txt") for code in re.findall(r"\[(FGW\d{4})\]", path.read_text())}
    assert ours - found == set()


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the comments of the shipped files say to make."""
    directory = tmp_path_factory.mktemp("dev-certs")
    ca = DevelopmentCa(directory)
    for credential in ("webapp-credential", "webapp-credential-mtls"):
        ca.server(credential, ["webapp.istioinaction.io"])
    return str(directory / "secrets")


@pytest.mark.parametrize("path", sorted(str(file.relative_to(ROOT)) for file in (ROOT / "config").glob("*/*.yaml")))
def test_what_is_shipped_is_right(path: str, secrets: str) -> None:
    found = examine_paths([str(ROOT / path)], ExamineOptions(secret_directories=[secrets])).diagnostics
    # the quickstart's upstream is a name that only --resolve or DNS knows
    assert [one.text() for one in found if one.severity != "info" and one.code != "FGW0020"] == []
