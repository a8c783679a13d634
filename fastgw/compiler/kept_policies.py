"""What holds where an EdgePolicy, or an annotation that stands for one, is broken: what cannot be read must not open the gate.

What it said when it was last good goes on to count, so that a slip in a change costs the change and nothing else. Where nothing is
known from before, nobody is let in. A policy that has gone goes on to count as well while its file, or the directory, cannot be
read as a whole: it may still stand there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from fastgw.compiler.inventory import Inventory, precedence
from fastgw.compiler.report import Report, place
from fastgw.model.cidr import parse_network
from fastgw.model.kinds.edge_policy import TargetRef
from fastgw.model.resource import Resource

CODE = "FGW0120"
MEND = "until it is mended"


class PolicyMemory:
    """What was last good, from one compilation to the next: policies by key, annotations by object and name."""

    __slots__ = ("_next_texts", "_texts", "policies")

    def __init__(self) -> None:
        self.policies: dict[str, Resource] = {}
        self._texts: dict[tuple[str, str, str], str] = {}
        self._next_texts: dict[tuple[str, str, str], str] = {}

    def begin(self) -> None:
        """A compilation: annotations that it does not look at are forgotten after it."""
        self._texts, self._next_texts = self._next_texts, {}

    def text(self, resource: Resource, name: str, problem: str, report: Report) -> str | None:
        """What counts of an annotation that is there; None: nothing good is known of it, and nobody is to be let in. ``problem``:
        what is wrong with it, "" for nothing."""
        key = (resource.kind, resource.key, name)
        text = self._texts.get(key) if problem else resource.annotations[name]
        if text is not None:
            self._next_texts[key] = text
        if problem:
            words = f'what it said before ("{text}") counts' if text is not None else "nobody is let in"
            report.error(CODE, resource, f"metadata.annotations[{name}]", f"{name}: {problem}: {words} {MEND}")
        return text


class Denial(msgspec.Struct, frozen=True):
    """A target of a broken policy of which nothing is known from before."""

    policy: Resource
    target: TargetRef


class InForce(msgspec.Struct):
    """``whole``: policies to obey, in order of precedence. ``denials``: where nobody is let in."""

    whole: list[Resource]
    denials: list[Denial]


def policies_in_force(inventory: Inventory, doubtful: frozenset[str], memory: PolicyMemory, report: Report) -> InForce:
    """``doubtful``: files and directories that may hold more than is in ``inventory``."""
    listed = inventory.of("EdgePolicy")
    good = {each.key: each for each in listed if _is_whole(each)}
    broken = {each.key: each for each in listed if each.key not in good}
    former = {key: each for key, each in memory.policies.items() if key in broken}
    gone = {
        key: each
        for key, each in memory.policies.items()
        if key not in good and key not in broken and _is_in(each.origin.file, doubtful)
    }
    denials = list(_denials(inventory, broken, former, gone.values(), report))
    for each in gone.values():
        words = f"is not found any more, but {each.origin.file} cannot be read as a whole: it goes on to count {MEND}"
        report.error(CODE, each, "", words)
    memory.policies = {**good, **former, **gone}
    return InForce(sorted(memory.policies.values(), key=precedence), denials)


def _denials(
    inventory: Inventory, broken: dict[str, Resource], former: dict[str, Resource], gone: Iterable[Resource], report: Report
) -> Iterator[Denial]:
    for key, policy in broken.items():
        # one that has got another name, or none, with the same stroke stands beside the one that has gone
        before = [former[key]] if key in former else [each for each in gone if each.origin.file == policy.origin.file]
        held = {(each.namespace, ref.kind, ref.name) for each in before for ref in each.spec.target_refs}
        fresh = [
            ref
            for ref in policy.spec.target_refs
            if (policy.namespace, ref.kind, ref.name) not in held and _is_there(inventory, policy, ref)
        ]
        for index, problem in _unreadable(policy):
            report.error("FGW0118", policy, f"spec.sources.deny[{index}]", problem)
        report.error(CODE, policy, "spec", _words(policy, before, fresh))
        for ref in fresh:
            yield Denial(policy, ref)


def _is_there(inventory: Inventory, policy: Resource, ref: TargetRef) -> bool:
    return any(each.namespace == policy.namespace and each.name == ref.name for each in inventory.of(ref.kind))


def _words(policy: Resource, before: Sequence[Resource], fresh: Sequence[TargetRef]) -> str:
    targets = ", ".join(dict.fromkeys(f"{ref.kind} {policy.namespace}/{ref.name}" for ref in fresh))
    denied = f"nobody is let in at {targets}" if targets else ""
    if before:
        kept = f"what EdgePolicy {before[0].key} said before, at {place(before[0])}, counts"
        return f"is broken: {' and '.join(filter(None, (kept, denied)))} {MEND}"
    if denied:
        return f"is broken, and nothing good is known of it from before: {denied} {MEND}"
    if policy.spec.target_refs:
        return f"is broken, and what it is for does not exist in namespace {policy.namespace}: IT KEEPS NOBODY OUT"
    return "is broken, and it cannot be told what it is for: IT KEEPS NOBODY OUT; give it targetRefs with a kind and a name"


def _is_whole(policy: Resource) -> bool:
    """A network of ``allow`` that cannot be read keeps more out, one of ``deny`` would let somebody in."""
    return not policy.broken and next(_unreadable(policy), None) is None


def _unreadable(policy: Resource) -> Iterator[tuple[int, str]]:
    """(index, problem) of each entry of ``deny`` that is no network."""
    for index, text in enumerate(policy.spec.sources.deny if policy.spec.sources is not None else ()):
        problem = network_problem(text)
        if problem:
            yield index, problem


def network_problem(text: str) -> str:
    """Why it is no address or network; "" when it is."""
    try:
        parse_network(text)
    except ValueError as problem:
        return str(problem)
    return ""


def _is_in(file: str, doubtful: frozenset[str]) -> bool:
    return any(file == each or file.startswith(each.rstrip("/") + "/") for each in doubtful if each)
