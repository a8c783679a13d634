"""Positions of the values of JSON texts. The values themselves are decoded by msgspec, which also judges the syntax.

The scan is lenient about syntax (msgspec has the last word) and strict about what msgspec lets pass:
depth and keys that appear twice.
"""

from libc.stdint cimport uint32_t

from fastgw.sources.places cimport TableBuilder, hash_key

from fastgw.sources.limits import DEPTH, VALUES
from fastgw.sources.places import DocumentPlaces


class JsonProblem(Exception):
    """``args`` are (message, line, column), both counted from 1."""


cdef class JsonScanner:
    """Walks one text value by value; ``line`` and ``column`` are those of the byte at ``offset``."""

    cdef str file
    cdef bytes text
    cdef const unsigned char *bytes_
    cdef readonly size_t offset
    cdef size_t end
    cdef readonly uint32_t line
    cdef size_t line_start     # offset of the first byte of the line, less what continuation bytes take from the column
    cdef uint32_t max_depth
    cdef uint32_t max_values
    cdef TableBuilder table

    def __cinit__(self, str file, bytes text):
        self.file = file
        self.text = text
        self.bytes_ = <const unsigned char *>(<char *>text)
        self.end = len(text)
        self.line = 1
        self.max_depth = DEPTH
        self.max_values = VALUES
        self.table = TableBuilder()
        if text.startswith(b"\xef\xbb\xbf"):
            self.offset = self.line_start = 3

    cdef inline uint32_t column(self) noexcept:
        return <uint32_t>(self.offset - self.line_start) + 1

    cdef object problem(self, str message):
        return JsonProblem(message, self.line, self.column())

    cdef void skip_blanks(self) noexcept:
        cdef unsigned char c
        while self.offset < self.end:
            c = self.bytes_[self.offset]
            if c == b"\n"[0]:
                self.line += 1
                self.line_start = self.offset + 1
            elif c != b" "[0] and c != b"\t"[0] and c != b"\r"[0]:
                return
            self.offset += 1

    def skip_separators(self):
        """Past blanks and ``---`` lines between documents; True when another document begins."""
        self.skip_blanks()
        while self.column() == 1 and self.text[self.offset:self.offset + 3] == b"---":
            self.offset += 3
            self.skip_blanks()
        return self.offset < self.end

    def scan_value(self):
        """The places of the value that begins here; afterwards ``offset`` is behind it. Raises JsonProblem."""
        self.table.clear()
        self.value(0, 0, 0, 0)
        return DocumentPlaces(self.file, self.table.take())

    def skip_line(self):
        """To the beginning of the next line, after a problem."""
        cdef Py_ssize_t at = self.text.find(b"\n", self.offset)
        self.offset = self.end if at < 0 else at
        self.skip_blanks()

    cdef int value(self, uint32_t key_hash, uint32_t key_line, uint32_t key_column, uint32_t depth) except -1:
        cdef unsigned char c
        cdef long index
        if depth > self.max_depth:
            raise self.problem(f"nested more than {self.max_depth} levels deep")
        if self.table.used >= self.max_values:
            raise self.problem(f"holds more than {self.max_values} values")
        if self.offset >= self.end:
            raise self.problem("not valid JSON: the text ends early")
        index = self.table.open(key_hash, key_line, key_column, self.line, self.column())
        c = self.bytes_[self.offset]
        if c == b"{"[0]:
            self.members(<uint32_t>index, depth)
        elif c == b"["[0]:
            self.elements(depth)
        elif c == b'"'[0]:
            self.string()
        else:
            self.literal()
        self.table.close(<uint32_t>index)
        return 1

    cdef int string(self) except -1:
        """Past a string; the offset is at its opening quote."""
        cdef unsigned char c
        cdef uint32_t column = self.column()
        self.offset += 1
        while self.offset < self.end:
            c = self.bytes_[self.offset]
            if c < 0x20:
                break
            self.offset += 1
            if c == b'"'[0]:
                return 1
            if c == b"\\"[0]:
                self.offset += 1
            elif c >= 0x80 and c < 0xC0:
                self.line_start += 1
        raise JsonProblem("not valid JSON: a string is not closed in its line", self.line, column)

    cdef int literal(self) except -1:
        """Past a number, true, false or null."""
        cdef size_t before = self.offset
        cdef unsigned char c
        while self.offset < self.end:
            c = self.bytes_[self.offset]
            if not (b"a"[0] <= c <= b"z"[0] or b"0"[0] <= c <= b"9"[0]
                    or c == b"+"[0] or c == b"-"[0] or c == b"."[0] or c == b"E"[0]):
                break
            self.offset += 1
        if self.offset == before:
            raise self.problem("not valid JSON: a value was expected")
        return 1

    cdef int elements(self, uint32_t depth) except -1:
        self.offset += 1
        self.skip_blanks()
        if self.at(b"]"[0]):
            return 1
        while True:
            self.value(0, 0, 0, depth + 1)
            self.skip_blanks()
            if self.at(b"]"[0]):
                return 1
            self.want(b","[0], "a comma or ]")
            self.skip_blanks()

    cdef int members(self, uint32_t parent, uint32_t depth) except -1:
        cdef uint32_t line, column, key_hash
        cdef size_t start
        self.offset += 1
        self.skip_blanks()
        if self.at(b"}"[0]):
            return 1
        while True:
            line, column, start = self.line, self.column(), self.offset + 1
            if self.offset >= self.end or self.bytes_[self.offset] != b'"'[0]:
                raise self.problem("not valid JSON: a key in double quotes was expected")
            self.string()
            key_hash = hash_key(self.bytes_ + start, self.offset - 1 - start)
            self.refuse_twice(parent, key_hash, start, line, column)
            self.skip_blanks()
            self.want(b":"[0], "a colon")
            self.skip_blanks()
            self.value(key_hash, line, column, depth + 1)
            self.skip_blanks()
            if self.at(b"}"[0]):
                return 1
            self.want(b","[0], "a comma or }")
            self.skip_blanks()

    cdef int refuse_twice(self, uint32_t parent, uint32_t key_hash, size_t start, uint32_t line, uint32_t column) except -1:
        """Raises when the mapping has the key already. Long mappings are not searched: 256 keys keep it linear."""
        cdef uint32_t at = parent + 1, seen = 0
        while at < self.table.used and seen < 256:
            if self.table.nodes[at].key_hash == key_hash:
                key = self.text[start:self.offset - 1].decode("utf-8", "replace")
                raise JsonProblem(f'key "{key}" appears twice in one object', line, column)
            at += self.table.nodes[at].size
            seen += 1
        return 1

    cdef bint at(self, unsigned char wanted) noexcept:
        """Steps over ``wanted`` if it is here."""
        if self.offset < self.end and self.bytes_[self.offset] == wanted:
            self.offset += 1
            return True
        return False

    cdef int want(self, unsigned char wanted, str words) except -1:
        if not self.at(wanted):
            raise self.problem(f"not valid JSON: {words} was expected")
        return 1
