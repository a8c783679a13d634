"""A plain value (dict, list, scalar) into the msgspec Struct of its kind, with a precise place for everything that does not fit.

The fast path is one msgspec call. Only when that refuses, the value is walked beside its type: every misfit is found,
nulls that stand for "absent" are taken out, enum numbers become names. Knows no kinds and no files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect

from fastgw.model.nearest import did_you_mean
from fastgw.model.paths import join_index, join_key

T = TypeVar("T", bound=msgspec.Struct)


class Problem(msgspec.Struct, frozen=True):
    """A misfit. ``path`` is where; ``at_key``: the key itself is wrong, not its value. ``unknown_field``: it may be left out."""

    path: str
    message: str
    at_key: bool = False
    unknown_field: bool = False


def decode(value: object, type_: type[T], path: str, *, drop_unknown: bool = False) -> tuple[T | None, list[Problem]]:
    """The Struct and []; or None and what is wrong. With ``drop_unknown`` unknown fields are reported and passed over.

    ``path`` is the place of ``value`` in its document ("spec", or "" for the whole document).
    """
    try:
        return msgspec.convert(value, type_), []
    except msgspec.ValidationError:
        pass
    walk = _Walk()
    clean = walk.check(value, _type_info(type_), path)
    fatal = [p for p in walk.problems if not (drop_unknown and p.unknown_field)]
    if fatal:
        return None, walk.problems
    try:
        return msgspec.convert(clean, type_), walk.problems
    except msgspec.ValidationError as error:
        return None, [*walk.problems, Problem(path, str(error))]


@lru_cache(maxsize=256)
def _type_info(type_: type[msgspec.Struct]) -> inspect.Type:
    return inspect.type_info(type_)


@lru_cache(maxsize=1024)
def _fields(struct: type[msgspec.Struct]) -> dict[str, inspect.Field]:
    info = _type_info(struct)
    assert isinstance(info, inspect.StructType)
    return {field.encode_name: field for field in info.fields}


@lru_cache(maxsize=1024)
def _enums(struct: type[msgspec.Struct]) -> dict[frozenset[Any], tuple[Any, ...]]:
    """The Literals of a Struct's fields as they were declared: msgspec sorts their values, and the order is the numbers'."""
    found: dict[frozenset[Any], tuple[Any, ...]] = {}
    pending = list(get_type_hints(struct, include_extras=True).values())
    while pending:
        hint = pending.pop()
        if get_origin(hint) is Literal:
            found[frozenset(get_args(hint))] = get_args(hint)
        else:
            pending += get_args(hint)
    return found


class _Walk:
    """Collects the problems of one value; ``check`` returns the value as msgspec wants it."""

    def __init__(self, enums: dict[frozenset[Any], tuple[Any, ...]] | None = None) -> None:
        self.problems: list[Problem] = []
        self.enums = enums if enums is not None else {}

    def add(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))

    def check(self, value: Any, info: inspect.Type, path: str) -> Any:
        handler = _HANDLERS.get(type(info))
        return handler(self, value, info, path) if handler is not None else value

    def struct(self, value: Any, info: inspect.StructType, path: str) -> Any:
        if not isinstance(value, Mapping):
            self.add(path, f"expected a mapping, got {describe(value)}")
            return value
        fields = _fields(info.cls)
        self.enums.update(_enums(info.cls))
        out: dict[str, Any] = {}
        for key, item in value.items():
            here = join_key(path, key)
            field = fields.get(key)
            if field is None:
                message = f'unknown field "{key}"{did_you_mean(key, fields)}'
                self.problems.append(Problem(here, message, at_key=True, unknown_field=True))
            elif item is not None or isinstance(field.type, inspect.AnyType):
                out[key] = self.check(item, field.type, here)
        for name, field in fields.items():
            if field.required and name not in out:
                self.add(path, f'the field "{name}" is missing')
        return out

    def sequence(self, value: Any, info: inspect.ListType | inspect.VarTupleType, path: str) -> Any:
        if not isinstance(value, list):
            self.add(path, f"expected a list, got {describe(value)}")
            return value
        out = []
        for index, item in enumerate(value):
            here = join_index(path, index)
            if item is None and not _takes_null(info.item_type):
                self.add(here, "null is not allowed in this list")
            else:
                out.append(self.check(item, info.item_type, here))
        return out

    def mapping(self, value: Any, info: inspect.DictType, path: str) -> Any:
        if not isinstance(value, Mapping):
            self.add(path, f"expected a mapping, got {describe(value)}")
            return value
        out = {}
        for key, item in value.items():
            here = join_key(path, key)
            if item is None and not _takes_null(info.value_type):
                self.add(here, "null is not allowed here")
            else:
                out[key] = self.check(item, info.value_type, here)
        return out

    def text(self, value: Any, info: inspect.StrType, path: str) -> Any:
        if info.pattern is not None and not (isinstance(value, str) and re.search(info.pattern, value)):
            # durations are the only texts with a pattern
            self.add(path, f'expected a duration such as "10s" or "100ms", got {describe(value)}')
        elif not isinstance(value, str):
            hint = ": put it in quotes" if isinstance(value, (bool, int, float)) else ""
            self.add(path, f"expected text, got {describe(value)}{hint}")
        return value

    def integer(self, value: Any, info: inspect.IntType, path: str) -> Any:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            hint = ": take the quotes away" if isinstance(value, str) and re.fullmatch(r"-?\d+", value) else ""
            self.add(path, f"expected a whole number, got {describe(value)}{hint}")
        elif info.ge is not None and value < info.ge:
            self.add(path, f"{value} is too small, the least is {info.ge}")
        elif info.le is not None and value > info.le:
            self.add(path, f"{value} is too large, the most is {info.le}")
        return value

    def number(self, value: Any, info: inspect.FloatType, path: str) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.add(path, f"expected a number, got {describe(value)}")
        return value

    def boolean(self, value: Any, info: inspect.BoolType, path: str) -> Any:
        if not isinstance(value, bool):
            hint = ": take the quotes away" if value in ("true", "false") else ""
            self.add(path, f"expected true or false, got {describe(value)}{hint}")
        return value

    def enum(self, value: Any, info: inspect.LiteralType, path: str) -> Any:
        """A name, or its number: the names of a Literal stand in the order of their numbers, from 0."""
        names = self.enums.get(frozenset(info.values), tuple(info.values))
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
            return names[value]
        if value not in names:
            meant = did_you_mean(value, map(str, names)) if isinstance(value, str) else ""
            self.add(path, f"expected one of {', '.join(map(str, names))}, got {describe(value)}{meant}")
        return value

    def annotated(self, value: Any, info: inspect.Metadata, path: str) -> Any:
        return self.check(value, info.type, path)

    def union(self, value: Any, info: inspect.UnionType, path: str) -> Any:
        if value is None and _takes_null(info):
            return None
        kinds = [kind for kind in info.types if not isinstance(kind, inspect.NoneType)]
        if len(kinds) == 1:
            return self.check(value, kinds[0], path)
        first: list[Problem] = []
        for kind in kinds:
            attempt = _Walk(self.enums)
            result = attempt.check(value, kind, path)
            if not attempt.problems:
                return result
            first = first or attempt.problems
        self.problems.extend(first)
        return value


_HANDLERS: dict[type[inspect.Type], Callable[[_Walk, Any, Any, str], Any]] = {
    inspect.StructType: _Walk.struct,
    inspect.ListType: _Walk.sequence,
    inspect.VarTupleType: _Walk.sequence,
    inspect.DictType: _Walk.mapping,
    inspect.StrType: _Walk.text,
    inspect.IntType: _Walk.integer,
    inspect.FloatType: _Walk.number,
    inspect.BoolType: _Walk.boolean,
    inspect.LiteralType: _Walk.enum,
    inspect.UnionType: _Walk.union,
    inspect.Metadata: _Walk.annotated,
}


def _takes_null(info: inspect.Type) -> bool:
    """Whether null is a value of its own here, and not a way to say "absent"."""
    if isinstance(info, inspect.UnionType):
        return any(isinstance(kind, inspect.NoneType) for kind in info.types)
    return isinstance(info, inspect.AnyType)


def describe(value: object) -> str:
    """A value in a message: its kind, and itself when it is short."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return f'the text "{value}"' if len(value) <= 60 else f'the text "{value[:57]}..."'
    return "a list" if isinstance(value, list) else "a mapping"
