"""The growing tables of one piece of an image: records, strings, origins, and what is shared with other pieces.

References count from the piece's own first records; ``fastgw.image.link`` moves them. Knows nothing of routing.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsEncodedString
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from fastgw.image.link cimport Buffer, Format, Piece, Symbol, make_piece
from fastgw.native.base cimport fgw_span

from fastgw.image import layout
from fastgw.image.references import FORMAT, NUMBERS


cdef extern from "fgw/image.h" nogil:
    ctypedef struct fgw_img_origin:
        fgw_span file
        fgw_span kind
        fgw_span name
        uint32_t line
        uint32_t column


cdef Format FORM = FORMAT
cdef uint32_t ORIGINS = NUMBERS["origins"]
cdef uint32_t CLUSTERS = NUMBERS["clusters"]
cdef uint32_t CANDIDATES = NUMBERS["candidates"]
cdef uint32_t STRINGS = NUMBERS["strings"]


cdef void *add_bytes(Buffer *buffer, size_t size) except NULL:
    """Room for ``size`` more bytes, which are zero. Earlier pointers into the buffer end."""
    cdef size_t wanted = buffer.used + size, room
    cdef void *larger
    if wanted > buffer.room:
        room = max(wanted, 2 * buffer.room, <size_t>256)
        larger = realloc(buffer.data, room)
        if larger == NULL:
            raise MemoryError
        buffer.data, buffer.room = <char *>larger, room
    cdef char *begin = buffer.data + buffer.used
    memset(begin, 0, size)
    buffer.used = wanted
    return begin


cdef bytes raw_of(str text):
    """The bytes that stand for configured text on the wire, see fastgw.image.symbols.to_bytes."""
    return PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass")


cdef class Table:
    """Records of one type, one after another, for builders in Python."""

    def __init__(self, Tables owner, str name):
        self.owner, self.number = owner, NUMBERS[name]
        self.pack = layout.TABLES[name].pack

    @property
    def count(self):
        return self.owner.count_of(self.number)

    def add(self, *values):
        """Append a record; its index."""
        cdef uint32_t index = self.owner.count_of(self.number)
        cdef bytes record = self.pack(*values)
        memcpy(self.owner.add(self.number, 1), PyBytes_AS_STRING(record), PyBytes_GET_SIZE(record))
        return index

    def extend(self, const unsigned char[::1] records not None):
        """Append whole records as they are; the index of the first."""
        cdef uint32_t index = self.owner.count_of(self.number)
        if records.shape[0] % FORM.layouts[self.number].record_bytes:
            raise ValueError("not whole records")
        if records.shape[0]:
            memcpy(add_bytes(&self.owner.buffers[self.number], <size_t>records.shape[0]), &records[0], <size_t>records.shape[0])
        return index


cdef class Tables:
    """All tables of one piece at a time; ``take`` makes room for the next one. ``symbols`` outlives them."""

    def __init__(self, symbols):
        self.symbols = symbols
        self.clear()

    def __dealloc__(self):
        cdef Buffer *buffer
        for buffer in self.buffers[:TABLES_MAX]:
            free(buffer.data)

    def __getitem__(self, str name):
        return Table(self, name)

    def clear(self):
        """Begin anew. What an abandoned piece left goes."""
        cdef uint32_t t
        for t in range(FORM.count):
            self.buffers[t].used = 0
        self.offsets, self.numbers, self.strings, self.clusters, self.origins = {}, {}, {}, {}, {}

    # --- records ---

    cdef void *add(self, uint32_t table, uint32_t count) except NULL:
        """``count`` (at least one) zeroed records more; the first of them, valid until the next."""
        return add_bytes(&self.buffers[table], <size_t>count * FORM.layouts[table].record_bytes)

    cdef uint32_t count_of(self, uint32_t table) noexcept:
        return <uint32_t>(self.buffers[table].used // FORM.layouts[table].record_bytes)

    def add_candidates(self, ranks):
        """Append rule indexes; the place of the first."""
        cdef uint32_t first = self.count_of(CANDIDATES)
        for rank in ranks:
            (<uint32_t *>self.add(CANDIDATES, 1))[0] = rank
        return first

    # --- strings ---

    cdef fgw_span place(self, bytes raw) except *:
        """Of the bytes in the piece's strings, where every distinct string is once."""
        cdef fgw_span span
        span.off, span.len = 0, <uint32_t>PyBytes_GET_SIZE(raw)
        if span.len == 0:
            return span
        known = self.offsets.get(raw)
        if known is not None:
            span.off = known
            return span
        span.off = self.count_of(STRINGS)
        self.offsets[raw] = span.off
        memcpy(add_bytes(&self.buffers[STRINGS], span.len), PyBytes_AS_STRING(raw), span.len)
        return span

    cdef fgw_span place_text(self, str text) except *:
        return self.place(raw_of(text))

    def span(self, text):
        """(offset, length) of text or bytes in the piece's strings."""
        cdef fgw_span span = self.place(text if isinstance(text, bytes) else raw_of(text))
        return span.off, span.len

    # --- what is shared ---

    cdef uint32_t number_of(self, Symbol symbol) except? 0xffffffff:
        known = self.numbers.get(symbol)
        if known is None:
            known = self.numbers[symbol] = len(self.numbers)
        return known

    cdef fgw_span place_shared(self, str text) except *:
        """For a field that is declared as shared. ``off`` is the number of the string's symbol."""
        cdef fgw_span span
        cdef Symbol symbol = self.strings.get(text)
        if symbol is None:
            symbol = self.strings[text] = self.symbols.string(text)
        span.off, span.len = self.number_of(symbol), <uint32_t>PyBytes_GET_SIZE(symbol.text)
        return span

    def shared_span(self, str text):
        """For a field that is declared as shared: (number of the string's symbol, length)."""
        cdef fgw_span span = self.place_shared(text)
        return span.off, span.len

    def networks_span(self, str allow, str deny):
        """(number of the symbol of a set of networks, its length)."""
        cdef Symbol symbol = self.symbols.networks(allow, deny)
        return self.number_of(symbol), PyBytes_GET_SIZE(symbol.text)

    cpdef uint32_t cluster(self, str name) except? 0xffffffff:
        """The number of the cluster's symbol."""
        cdef Symbol symbol = self.clusters.get(name)
        if symbol is None:
            symbol = self.clusters[name] = self.symbols.cluster(name)
        return self.number_of(symbol)

    def regex(self, str pattern):
        """(number of the regex's symbol, literal prefix)."""
        cdef Symbol symbol = self.symbols.regex(pattern)
        return self.number_of(symbol), symbol.more

    def is_usable_regex(self, str pattern):
        """Does a pattern that was added compile?"""
        return self.symbols.is_usable(pattern)

    cpdef uint32_t origin(self, str kind, str name, origin) except? 0xffffffff:
        """Index of the record for an object and a place in it."""
        key = (kind, name, origin)
        known = self.origins.get(key)
        if known is not None:
            return known
        cdef uint32_t index = self.count_of(ORIGINS)
        cdef fgw_span file = self.place_shared(origin.file)
        cdef fgw_span shared_kind = self.place_shared(kind)
        cdef fgw_span place = self.place_text(name)
        cdef fgw_img_origin *record = <fgw_img_origin *>self.add(ORIGINS, 1)
        record.file, record.kind, record.name = file, shared_kind, place
        record.line, record.column = origin.line, origin.column
        self.origins[key] = index
        return index

    # --- the piece ---

    cpdef Piece take(self, bint rooted=False, Piece goes_with=None, str defines=""):
        """The piece. ``defines``: the cluster that its first cluster record is."""
        symbol = self.symbols.cluster(defines) if defines else None
        cdef Piece piece = make_piece(FORM, self.buffers, tuple(self.numbers), rooted, goes_with, symbol, CLUSTERS)
        self.clear()
        return piece
