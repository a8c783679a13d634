"""YAML text to plain values and position tables, over libyaml's events. Knows nothing of kinds or files' meaning.

Scalars resolve as in Kubernetes' own reader (sigs.k8s.io/yaml): plain yes/no/on/off are booleans, 0x and leading-zero
numbers are integers, timestamps stay text, keys that are not text become text, ``<<`` merges.
Limits make hostile input cheap: depth, size of a document, and how much aliases may expand to.
"""

import re
from sys import intern

from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint32_t
from libc.string cimport strchr

from fastgw.sources.libyaml cimport *
from fastgw.sources.places cimport TableBuilder, hash_key

from fastgw.sources.limits import ALIAS_NODES, DEPTH, DOCUMENT_BYTES, VALUES
from fastgw.sources.places import DocumentPlaces


def library_version():
    """The version of the libyaml that is linked."""
    return (<bytes>yaml_get_version_string()).decode()


class YamlProblem(Exception):
    """One thing that is wrong with a document: ``args`` are (message, line, column), both counted from 1."""


cdef dict WORDS = {
    **dict.fromkeys((b"y", b"Y", b"yes", b"Yes", b"YES", b"true", b"True", b"TRUE", b"on", b"On", b"ON"), True),
    **dict.fromkeys((b"n", b"N", b"no", b"No", b"NO", b"false", b"False", b"FALSE", b"off", b"Off", b"OFF"), False),
    **dict.fromkeys((b"", b"~", b"null", b"Null", b"NULL"), None),
    **dict.fromkeys((b".nan", b".NaN", b".NAN"), float("nan")),
    **dict.fromkeys((b".inf", b".Inf", b".INF", b"+.inf", b"+.Inf", b"+.INF"), float("inf")),
    **dict.fromkeys((b"-.inf", b"-.Inf", b"-.INF"), float("-inf")),
}
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*|0[0-7_]+|0[oO][0-7_]+|0[xX][0-9a-fA-F_]+|0[bB][01_]+)")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
FORBIDDEN_TAGS = ("!!binary", "!!set", "!!omap", "!!pairs")


cdef object as_number(str text):
    """int or float when the text is one, else the text."""
    cdef str digits, sign
    if INTEGER.fullmatch(text):
        digits = text.replace("_", "").lower()
        sign = ""
        if digits[0] in "+-":
            sign, digits = digits[0], digits[1:]
        if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
            digits = "0o" + digits[1:]
        # beyond 64 bits the value becomes a float, as in Go's reader; it also keeps huge literals cheap
        return int(sign + digits, 0) if len(digits) < 20 else (float(digits) if digits.isdigit() else text)
    if FLOAT.fullmatch(text):
        return float(text)
    return text


cdef object resolve_plain(const char *text, size_t length):
    """The value of a plain scalar without a tag."""
    cdef char first = text[0] if length else 0
    if length <= 5 and (length == 0 or strchr("yYnNtTfFoO~.+-", first) != NULL):
        word = text[:length]
        if word in WORDS:
            return WORDS[word]
    if (b"0"[0] <= first <= b"9"[0]) or first == b"."[0] or first == b"-"[0] or first == b"+"[0]:
        return as_number(PyUnicode_DecodeUTF8(text, length, "strict"))
    return PyUnicode_DecodeUTF8(text, length, "strict")


cdef class _Anchor:
    """A named node: its value and how many nodes it stands for, other aliases in it expanded."""

    cdef object value
    cdef size_t nodes


cdef class YamlReader:
    """Reads the documents of one text in turn.

    ``text`` is the UTF-8 of a whole file; reading begins at byte ``start``, which is the beginning of line ``first_line``
    (counted from 1).
    """

    cdef yaml_parser_t parser
    cdef yaml_event_t event
    cdef bint have_parser, have_event
    cdef bytes text
    cdef str file
    cdef uint32_t first_line
    cdef readonly uint32_t document_line   # where the last document began
    cdef size_t start
    cdef size_t document_index     # characters before this document, or before this item of a List
    cdef size_t expanded           # values that the aliases of this document stand for
    cdef bint in_items             # inside ``items`` of the document: each of them is a document of its own
    cdef uint32_t max_depth
    cdef uint32_t max_values
    cdef size_t max_bytes
    cdef dict anchors
    cdef TableBuilder table

    def __cinit__(self, str file, bytes text, size_t start=0, uint32_t first_line=1):
        self.file = file
        self.text = text
        if start > <size_t>len(text):
            raise ValueError("start lies behind the text")
        self.start = start
        self.first_line = self.document_line = first_line
        self.max_depth = DEPTH
        self.max_values = VALUES
        self.max_bytes = DOCUMENT_BYTES
        self.table = TableBuilder()
        if not yaml_parser_initialize(&self.parser):
            raise MemoryError
        self.have_parser = True
        yaml_parser_set_encoding(&self.parser, YAML_UTF8_ENCODING)
        yaml_parser_set_input_string(&self.parser, <const unsigned char *>(<char *>self.text) + start, len(text) - start)

    def __dealloc__(self):
        self.drop_event()
        if self.have_parser:
            yaml_parser_delete(&self.parser)

    cdef void drop_event(self) noexcept:
        if self.have_event:
            yaml_event_delete(&self.event)
            self.have_event = False

    cdef int advance(self) except -1:
        self.drop_event()
        if not yaml_parser_parse(&self.parser, &self.event):
            raise self.syntax_problem()
        self.have_event = True
        return 1

    cdef uint32_t line(self) noexcept:
        return self.first_line + <uint32_t>self.event.start_mark.line

    cdef uint32_t column(self) noexcept:
        return <uint32_t>self.event.start_mark.column + 1

    cdef object problem(self, str message):
        return YamlProblem(message, self.line(), self.column())

    cdef object syntax_problem(self):
        """What libyaml found, in its words and ours."""
        cdef str message = self.parser.problem.decode() if self.parser.problem != NULL else "not valid YAML"
        cdef yaml_mark_t mark = self.parser.problem_mark
        if self.parser.error == YAML_MEMORY_ERROR:
            return MemoryError()
        if self.parser.error == YAML_READER_ERROR:
            return self.unreadable_character(message)
        if message == "found character that cannot start any token" and self.byte_at(mark.line, mark.column) == b"\t"[0]:
            return YamlProblem("not valid YAML: a tab cannot be used for indentation, use blanks", self.first_line + mark.line,
                               mark.column + 1)
        if self.parser.context != NULL and self.parser.context_mark.line != mark.line:
            message += f" ({self.parser.context.decode()} that began in line {self.first_line + self.parser.context_mark.line})"
        elif self.parser.context != NULL:
            message += f" ({self.parser.context.decode()})"
        return YamlProblem(f"not valid YAML: {message}", self.first_line + mark.line, mark.column + 1)

    cdef object unreadable_character(self, str message):
        before = self.text[self.start:self.start + self.parser.problem_offset]
        column = len(before) - before.rfind(b"\n")
        return YamlProblem(f"not valid YAML: {message}", self.first_line + before.count(b"\n"), column)

    cdef int byte_at(self, size_t line, size_t column) except -2:
        """The byte at a place of this reader's part of the text; -1 behind its end."""
        cdef Py_ssize_t at = self.start
        while line > 0:
            at = self.text.find(b"\n", at) + 1
            if at == 0:
                return -1
            line -= 1
        return self.text[at + column] if at + column < <size_t>len(self.text) else -1

    def read_document(self):
        """The next document as (value, places), places None for an empty one; None at the end of the text.

        Raises YamlProblem; the reader is of no use afterwards, start another one behind the document.
        """
        while True:
            self.advance()
            if self.event.type == YAML_STREAM_END_EVENT:
                return None
            if self.event.type == YAML_DOCUMENT_START_EVENT:
                break
        self.document_index = self.event.start_mark.index
        self.document_line = self.line()
        self.expanded = 0
        self.in_items = False
        self.anchors = {}
        self.table.clear()
        self.advance()
        value = self.read_node(0, 0, 0, 0)
        table = self.table.take()
        self.advance()
        return value, DocumentPlaces(self.file, table)

    cdef object read_node(self, uint32_t key_hash, uint32_t key_line, uint32_t key_column, uint32_t depth):
        """The value that begins with the current event; its last event is the current one afterwards."""
        if depth > self.max_depth:
            raise self.problem(f"nested more than {self.max_depth} levels deep")
        if self.table.used >= self.max_values:
            raise self.problem(f"holds more than {self.max_values} values")
        if depth == 2 and self.in_items:
            self.document_index = self.event.start_mark.index
        if self.event.end_mark.index - self.document_index > self.max_bytes:
            raise self.problem(f"the document is longer than {self.max_bytes >> 20} MiB")
        cdef long index = self.table.open(key_hash, key_line, key_column, self.line(), self.column())
        cdef yaml_event_type_t kind = self.event.type
        if kind == YAML_SCALAR_EVENT:
            return self.read_scalar()
        if kind == YAML_ALIAS_EVENT:
            return self.read_alias()
        cdef size_t nodes_before = self.table.used + self.expanded
        cdef object value, name = None
        cdef yaml_char_t *anchor
        anchor = self.event.data.mapping_start.anchor if kind == YAML_MAPPING_START_EVENT else self.event.data.sequence_start.anchor
        if anchor != NULL:
            name = (<char *>anchor).decode()
        value = self.read_mapping(depth) if kind == YAML_MAPPING_START_EVENT else self.read_sequence(depth)
        self.table.close(<uint32_t>index)
        if name is not None:
            self.remember(name, value, self.table.used + self.expanded - nodes_before + 1)
        return value

    cdef int remember(self, str name, object value, size_t nodes) except -1:
        cdef _Anchor anchor = _Anchor()
        anchor.value = value
        anchor.nodes = nodes
        self.anchors[name] = anchor
        return 1

    cdef object read_alias(self):
        cdef str name = (<char *>self.event.data.alias.anchor).decode()
        cdef _Anchor anchor = self.anchors.get(name)
        if anchor is None:
            raise self.problem(f"alias *{name} has no anchor &{name} before it")
        self.expanded += anchor.nodes
        if self.expanded > ALIAS_NODES:
            raise self.problem(f"aliases expand to more than {ALIAS_NODES} values")
        return anchor.value

    cdef object read_scalar(self):
        cdef const char *text = <const char *>self.event.data.scalar.value
        cdef size_t length = self.event.data.scalar.length
        cdef object value
        if self.event.data.scalar.tag != NULL:
            value = self.tagged_scalar((<char *>self.event.data.scalar.tag).decode(), PyUnicode_DecodeUTF8(text, length, "strict"))
        elif self.event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE and self.event.data.scalar.plain_implicit:
            value = resolve_plain(text, length)
        else:
            value = PyUnicode_DecodeUTF8(text, length, "strict")
        if self.event.data.scalar.anchor != NULL:
            self.remember((<char *>self.event.data.scalar.anchor).decode(), value, 1)
        return value

    cdef object tagged_scalar(self, str tag, str text):
        """An explicit tag: the core ones mean what they say, any other leaves the value as it would be without."""
        cdef str short = tag.replace("tag:yaml.org,2002:", "!!")
        if short in FORBIDDEN_TAGS:
            raise self.problem(f"the tag {short} is not supported")
        if short == "!!str" or short == "!":
            return text
        raw = text.encode()
        value = resolve_plain(<char *>raw, len(raw))
        if short == "!!float" and type(value) is int:
            return float(value)
        wanted = {"!!int": int, "!!bool": bool, "!!float": float, "!!null": type(None)}.get(short)
        if wanted is not None and type(value) is not wanted:
            raise self.problem(f'"{text}" is not what its tag {short} says')
        return value

    cdef list read_sequence(self, uint32_t depth):
        cdef list out = []
        while True:
            self.advance()
            if self.event.type == YAML_SEQUENCE_END_EVENT:
                return out
            out.append(self.read_node(0, 0, 0, depth + 1))

    cdef dict read_mapping(self, uint32_t depth):
        cdef dict out = {}
        cdef list merges = None
        cdef str key
        cdef bytes raw
        cdef uint32_t line, column, key_hash
        while True:
            self.advance()
            if self.event.type == YAML_MAPPING_END_EVENT:
                break
            line, column = self.line(), self.column()
            if self.is_merge():
                self.advance()
                merges = merges if merges is not None else []
                merges.append(self.read_node(hash_key(b"<<", 2), line, column, depth + 1))
                continue
            key = self.read_key()
            raw = key.encode()
            key_hash = hash_key(<const unsigned char *>(<char *>raw), len(raw))
            if key in out:
                raise self.problem(f'key "{key}" appears twice in one mapping')
            self.advance()
            if depth == 0:
                self.in_items = key == "items"
            out[key] = self.read_node(key_hash, line, column, depth + 1)
        if merges is not None:
            self.merge(out, merges)
        return out

    cdef bint is_merge(self):
        return (self.event.type == YAML_SCALAR_EVENT and self.event.data.scalar.length == 2
                and self.event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE and self.event.data.scalar.value[0] == b"<"[0]
                and self.event.data.scalar.value[1] == b"<"[0])

    cdef str read_key(self):
        """The current scalar as a key; numbers and booleans become text, as in JSON."""
        cdef object value
        if self.event.type == YAML_ALIAS_EVENT:
            value = self.read_alias()
        elif self.event.type == YAML_SCALAR_EVENT:
            value = self.read_scalar()
        else:
            raise self.problem("a key has to be text, not a list or a mapping")
        if type(value) is bool:
            value = "true" if value else "false"
        elif type(value) in (int, float):
            value = str(value)
        if type(value) is not str:
            raise self.problem("a key has to be text")
        # the same few names are the keys of every document: one object each instead of one a mapping
        return intern(<str>value)

    cdef int merge(self, dict out, list merges) except -1:
        """``<<``: keys of the mapping itself win, then the earlier of the merged ones."""
        for source in merges:
            for one in source if isinstance(source, list) else [source]:
                if not isinstance(one, dict):
                    raise self.problem("<< merges mappings only")
                for key, value in one.items():
                    out.setdefault(key, value)
        return 1
