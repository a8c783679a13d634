"""Everything that can be said about a configuration: loading, the rules of each object, the whole picture, the compilation."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fastgw.analysis.picture import Memory as ExamineMemory
from fastgw.analysis.picture import PictureOptions, check_picture
from fastgw.compiler.compile import CompileCache, CompileOptions, compile_plan
from fastgw.credentials.keeper import Keeper
from fastgw.model.diagnostic import Diagnostic
from fastgw.model.plan import Plan
from fastgw.model.resource import Resource
from fastgw.sources.files import FileCache, load_paths, without_collector


class ExamineOptions(msgspec.Struct):
    """Who the gateway is, fixed answers for upstream names (port 0: the destination's own), where certificates are mounted."""

    labels: dict[str, str] = msgspec.field(default_factory=lambda: {"istio": "ingressgateway"})
    namespace: str = "istio-system"
    resolve: dict[str, tuple[str, int]] = {}
    secret_directories: list[str] = []
    mesh_directory: str = ""


class Examined(msgspec.Struct):
    """``resources`` are those that can be used; ``diagnostics`` are sorted by file and line, what has no place comes first."""

    resources: list[Resource]
    diagnostics: list[Diagnostic]
    files: list[str]
    plan: Plan


def examine_paths(
    paths: list[str],
    options: ExamineOptions | None = None,
    files: FileCache | None = None,
    compiled: CompileCache | None = None,
) -> Examined:
    """Never raises for what is in the files."""
    with without_collector():
        return _examine(paths, options or ExamineOptions(), files, compiled)


def _examine(paths: list[str], options: ExamineOptions, files: FileCache | None, compiled: CompileCache | None) -> Examined:
    loaded = load_paths(paths, options.namespace, files)
    answers = {host: (address, port or None) for host, (address, port) in options.resolve.items()}
    own = CompileOptions(options.labels, options.namespace, answers)
    result = compile_plan(loaded.resources, own, compiled, loaded.doubtful)
    whole = examine(loaded.resources, result.plan, options)
    diagnostics = in_order([*loaded.diagnostics, *whole, *result.diagnostics], loaded.files)
    return Examined(loaded.resources, diagnostics, loaded.files, result.plan)


def examine(
    resources: Sequence[Resource],
    plan: Plan,
    options: ExamineOptions,
    memory: ExamineMemory | None = None,
    keeper: Keeper | None = None,
) -> list[Diagnostic]:
    """What is wrong between the objects and with what comes of them: all checks beyond loading and compiling, in no order.

    ``plan`` is what ``compile_plan`` made of ``resources``. Give the same ``memory`` each time where a configuration is examined
    again after each change: what was found about objects and virtual hosts that are the very same is kept. Never raises for what
    is in the resources; reads the files of certificates that they name, unless ``keeper`` knows what is served of them.
    """
    own = PictureOptions(
        options.labels, options.namespace, options.secret_directories, options.mesh_directory, serving=keeper is not None
    )
    return check_picture(resources, own, plan, memory, keeper)


def in_order(diagnostics: list[Diagnostic], files: list[str]) -> list[Diagnostic]:
    """By load order of the files, then by line; each finding once."""
    rank = {file: number for number, file in enumerate(files)}
    return sorted(
        dict.fromkeys(diagnostics),
        key=lambda found: (rank.get(found.origin.file, -1), found.origin.line, found.origin.column),
    )
