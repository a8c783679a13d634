"""A document into a typed Resource: kind and version looked up, metadata read, spec decoded. One bad object is left out, but for a
policy, which has to go on keeping out (salvage)."""

from __future__ import annotations

from typing import Any

import msgspec

from fastgw.analysis.containment import broken_parts, lies_in, parts_with_errors
from fastgw.analysis.misfits import without_misfits
from fastgw.analysis.rule_parts import without_parts
from fastgw.analysis.validate import validate
from fastgw.model.codes import severity_of
from fastgw.model.decode import Problem, decode, describe
from fastgw.model.diagnostic import ERROR, WARNING, Diagnostic
from fastgw.model.kind_notes import judge_kind, judge_version, note_on
from fastgw.model.kinds import KINDS, KindInfo
from fastgw.model.kinds.destination_rule import DestinationRule
from fastgw.model.kinds.service_entry import ServiceEntry
from fastgw.model.metadata import Metadata
from fastgw.model.names import is_object_name
from fastgw.model.nearest import did_you_mean
from fastgw.model.origin import Origin
from fastgw.model.resource import Resource
from fastgw.sources.documents import Document
from fastgw.sources.salvage import salvage

SCHEMA, INCOMPLETE, KUBERNETES_FIELD = "IST0106", "FGW0009", "FGW0016"
_TOP = frozenset(("apiVersion", "kind", "metadata", "spec", "status"))
_BESIDE_SPEC = frozenset(("apiVersion", "kind", "metadata"))
_EMPTY = Metadata()


class Assembled(msgspec.Struct):
    """``resource`` None: the document is left out, or ``broken`` as a whole; ``diagnostics`` say why."""

    resource: Resource | None
    diagnostics: list[Diagnostic]


class _Object(msgspec.Struct):
    """What a diagnostic about this document says of it."""

    document: Document
    kind: str = ""
    namespace: str = ""
    name: str = ""

    def finding(self, code: str, message: str, path: str = "", *, at_key: bool = False, severity: str = "") -> Diagnostic:
        places = self.document.places
        origin: Origin = places.find_key(path) if at_key else places.find(path)
        return Diagnostic(severity or severity_of(code), code, message, self.kind, self.namespace, self.name, path, origin)

    def problem(self, found: Problem, info: KindInfo | None) -> Diagnostic:
        """Istio's kinds and ours are strict; an unknown field of a Kubernetes object only costs that field."""
        if found.unknown_field and _lenient(info):
            return self.finding(KUBERNETES_FIELD, f"{found.message} (ignored)", found.path, at_key=True)
        return self.finding(SCHEMA, found.message, found.path, at_key=found.at_key)


def assemble(document: Document, gateway_namespace: str) -> Assembled:
    """The Resource of a document, typed when its kind has a type; else what is to be said about it."""
    subject = _Object(document)
    found = _assemble(subject, gateway_namespace)
    if found.resource is None and any(each.severity == ERROR for each in found.diagnostics):
        found.resource = salvage(document, subject.namespace, subject.name)
    return found


def _assemble(subject: _Object, gateway_namespace: str) -> Assembled:
    head = _read_head(subject)
    if isinstance(head, Diagnostic):
        return Assembled(None, [head])
    api_version, group, version = head
    info = KINDS.get((group, subject.kind))
    if info is None:
        return Assembled(None, _judge_unknown(subject, api_version, group))
    metadata, diagnostics = _read_metadata(subject, info, gateway_namespace)
    if not subject.name:
        return Assembled(None, diagnostics)
    finding = judge_version(info, version)
    if finding is not None:
        return Assembled(None, [*diagnostics, subject.finding(*finding, path="apiVersion")])
    note = note_on(group, subject.kind)
    if note is not None:
        diagnostics.append(subject.finding(*note, path="kind"))
    spec, more = _read_spec(subject, info)
    diagnostics += more
    # an object without usable metadata is left out, but all that is wrong with it is said at once
    if metadata is None or (info.spec is not None and spec is None):
        return Assembled(None, diagnostics)
    resource = _resource(subject, api_version, metadata, spec)
    value = _spec_of(subject.document.value)
    lost = parts_with_errors(info.kind, more, value) or ()
    wrong = [found for found in validate(resource) if not any(lies_in(found.path, part) for part in lost)]
    broken = broken_parts(info.kind, [*more, *wrong], spec, value)
    if broken:
        resource.broken = broken
        if isinstance(spec, DestinationRule):
            resource.spec = without_parts(spec, broken)
        elif isinstance(spec, ServiceEntry):
            good = (endpoint for index, endpoint in enumerate(spec.endpoints) if f"spec.endpoints[{index}]" not in broken)
            resource.spec = msgspec.structs.replace(spec, endpoints=tuple(good))
    return Assembled(None if broken is None else resource, [*diagnostics, *wrong])


def _resource(subject: _Object, api_version: str, metadata: Metadata, spec: Any) -> Resource:
    return Resource(
        kind=subject.kind,
        api_version=api_version,
        namespace=subject.namespace,
        name=subject.name,
        labels=metadata.labels,
        annotations=metadata.annotations,
        creation_timestamp=metadata.creation_timestamp,
        spec=spec,
        origin=subject.document.places.find(""),
        places=subject.document.places,
    )


def _read_head(subject: _Object) -> tuple[str, str, str] | Diagnostic:
    """(apiVersion, group, version), and the kind into ``subject``."""
    value = subject.document.value
    if not isinstance(value, dict):
        return subject.finding(INCOMPLETE, f"a document has to be a mapping with apiVersion and kind, got {describe(value)}")
    missing = [key for key in ("apiVersion", "kind") if not isinstance(value.get(key), str) or not value[key]]
    if missing:
        # somebody else's YAML in the same folder (values.yaml, compose files) is no error of the configuration
        foreign = not (value.keys() & _TOP)
        message = f"the document has no {' and no '.join(missing)}" + (", it is passed over" if foreign else "")
        return subject.finding(INCOMPLETE, message, severity=WARNING if foreign else "")
    subject.kind = value["kind"]
    api_version: str = value["apiVersion"]
    group, _, version = api_version.rpartition("/")
    return api_version, group, version


def _judge_unknown(subject: _Object, api_version: str, group: str) -> list[Diagnostic]:
    metadata = subject.document.value.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("name"), str):
        subject.name = metadata["name"]
        namespace = metadata.get("namespace")
        subject.namespace = namespace if isinstance(namespace, str) else "default"
    code, message, path = judge_kind(api_version, group, subject.kind)
    return [subject.finding(code, message, path)]


def _read_metadata(subject: _Object, info: KindInfo, gateway_namespace: str) -> tuple[Metadata | None, list[Diagnostic]]:
    value = subject.document.value.get("metadata")
    if value is None:
        return None, [subject.finding(INCOMPLETE, "the document has no metadata.name")]
    metadata, problems = decode(value, Metadata, "metadata")
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        subject.name = value["name"]
    if isinstance(value, dict) and info.namespaced:
        default = gateway_namespace if info.kind in ("Secret", "ConfigMap") else "default"
        given = value.get("namespace")
        subject.namespace = given if isinstance(given, str) and given else default
    diagnostics = [subject.problem(problem, None) for problem in problems]
    if metadata is None:
        return None, diagnostics
    if not metadata.name:
        return None, [*diagnostics, subject.finding(INCOMPLETE, "the document has no metadata.name", "metadata")]
    for field, text in (("name", subject.name), ("namespace", subject.namespace)):
        if text and not is_object_name(text):
            diagnostics.append(subject.finding(SCHEMA, f"{describe(text)} is no name of an object", f"metadata.{field}"))
            metadata = None
    return metadata, diagnostics


def _read_spec(subject: _Object, info: KindInfo) -> tuple[Any, list[Diagnostic]]:
    if info.spec is None:
        return None, []
    value: dict[str, Any] = subject.document.value
    if info.spec_at_root:
        content: Any = {key: item for key, item in value.items() if key not in _BESIDE_SPEC}
        spec, problems = decode(content, info.spec, "", drop_unknown=True)
        return spec, [subject.problem(problem, info) for problem in problems]
    spec, problems = decode(_spec_of(value), info.spec, "spec", drop_unknown=_lenient(info))
    if spec is None:
        kept = without_misfits(info.kind, _spec_of(value), [problem.path for problem in problems])
        spec = decode(kept, info.spec, "spec")[0] if kept is not None else None
    if not value.keys() <= _TOP:
        problems = [*_unknown_top(value), *problems]
        spec = spec if _lenient(info) else None
    return spec, [subject.problem(problem, info) for problem in problems]


def _spec_of(value: dict[str, Any]) -> Any:
    spec = value.get("spec")
    return {} if spec is None else spec


def _unknown_top(value: dict[str, Any]) -> list[Problem]:
    return [
        Problem(key, f'unknown field "{key}"{did_you_mean(key, _TOP)}', at_key=True, unknown_field=True)
        for key in value
        if key not in _TOP
    ]


def _lenient(info: KindInfo | None) -> bool:
    """Kubernetes' own kinds get new fields with every release, which must not cost anybody the object."""
    return info is not None and not info.group.endswith((".istio.io", ".fastgw.io"))
