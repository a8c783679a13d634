"""The linker of the route image: joins separately written pieces into one image, as a linker joins object files.

A piece holds records whose references count from the piece's own first records; what several pieces share (strings, regexes,
clusters) they name by symbols. Linking copies the pieces one after another and moves every reference by the place that its
piece got, so that a change of one virtual host costs the writing of its piece and a copy of all others. Knows nothing of
what the records mean: the fields that refer to something come from fastgw.image.references.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

from fastgw.native.route cimport FGW_NONE


cdef extern from "fgw/image.h" nogil:
    enum:
        FGW_SLOT_INLINE
        FGW_SINGLE
        FGW_HOST_MAX

    ctypedef struct fgw_img_slot:
        uint32_t hash
        uint32_t value
        uint32_t hint
        uint32_t key_len
        uint32_t key_off
        uint8_t key[40]

    uint32_t fgw_hash_forward(const char *p, size_t n)
    uint32_t fgw_hash_backward(const char *p, size_t n)


cdef enum FieldKind:
    INDEX = 1    # a record of the same piece
    FOREIGN = 2  # a record of the piece that this one goes with
    LIST = 3     # a list reference: a list, or FGW_SINGLE | rule
    SYMBOL = 4   # a symbol of the piece

cdef enum SymbolKind:
    STRING = 1
    REGEX = 2
    CLUSTER = 3

KINDS = {"index": INDEX, "foreign": FOREIGN, "list": LIST, "symbol": SYMBOL}

cdef class Format:
    """The tables of an image by number: size of a record, and the fields in it that refer to something."""

    def __init__(self, list tables, dict numbers):
        """``tables``: (record bytes, [(offset, kind, target table)]). ``numbers``: of the tables that the linker itself needs."""
        if len(tables) > TABLES_MAX:
            raise ValueError("too many tables")
        self.count = len(tables)
        self.rules, self.nodes, self.lists = numbers["rules"], numbers["nodes"], numbers["lists"]
        self.vhosts, self.slots, self.strings = numbers["vhosts"], numbers["slots"], numbers["strings"]
        self.regexes = numbers["regexes"]
        cdef uint32_t t, f
        for t, (record_bytes, fields) in enumerate(tables):
            if len(fields) > FIELDS_MAX:
                raise ValueError("too many fields")
            self.layouts[t].record_bytes = record_bytes
            self.layouts[t].field_count = len(fields)
            for f, (offset, kind, target) in enumerate(fields):
                self.layouts[t].fields[f] = Field(offset, kind, target)

    def record_bytes(self, uint32_t table):
        return self.layouts[table].record_bytes


cdef class Symbol:
    """Something that pieces share. ``text``: the string, or the pattern; ``more``: the literal prefix of a pattern."""

    def __init__(self, str kind, bytes text, bytes more=b""):
        self.kind = {"string": STRING, "regex": REGEX, "cluster": CLUSTER}[kind]
        self.text = text
        self.more = more


cdef class Piece:
    """Records of some tables. ``symbols``: what its symbol fields mean. ``goes_with``: the piece of its foreign references.

    ``rooted``: its first node is the root of a trie and goes to the places of the virtual hosts that use it. ``defines``: the
    symbol that stands for its first record of table ``defined``.
    """

    def __dealloc__(self):
        free(self.data)


cdef Piece make_piece(Format form, const Buffer *buffers, tuple symbols, bint rooted, Piece goes_with, Symbol defines,
                      uint32_t defined):
    """``buffers``: the records of each table of the format."""
    cdef Piece piece = Piece.__new__(Piece)
    cdef size_t total = 0
    cdef uint32_t t
    piece.tables = form.count
    piece.symbols, piece.rooted, piece.goes_with, piece.defines, piece.defined = symbols, rooted, goes_with, defines, defined
    for t in range(form.count):
        total += buffers[t].used
    piece.data = <char *>malloc(total + 1)
    if piece.data == NULL:
        raise MemoryError
    total = 0
    for t in range(form.count):
        if buffers[t].used:
            memcpy(piece.data + total, buffers[t].data, buffers[t].used)
            total += buffers[t].used
            piece.counts[t] = <uint32_t>(buffers[t].used // form.layouts[t].record_bytes)
    return piece


cdef class Host:
    """A virtual host: its own record (with name and origin), the piece of its rules, and its domains."""

    cdef Piece own
    cdef Piece rules
    cdef readonly tuple domains
    cdef uint32_t *hashes

    def __cinit__(self, Piece own, Piece rules, tuple domains):
        """``domains``: lower-case bytes, with the star of a wildcard."""
        cdef Py_ssize_t i
        cdef bytes domain
        self.own, self.rules, self.domains = own, rules, domains
        self.hashes = <uint32_t *>calloc(len(domains) + 1, sizeof(uint32_t))
        if self.hashes == NULL:
            raise MemoryError
        for i in range(len(domains)):
            domain = domains[i]
            if domain.startswith(b"*"):
                self.hashes[i] = fgw_hash_backward(PyBytes_AS_STRING(domain) + 1, PyBytes_GET_SIZE(domain) - 1)
            else:
                self.hashes[i] = fgw_hash_forward(PyBytes_AS_STRING(domain), PyBytes_GET_SIZE(domain))

    def __dealloc__(self):
        free(self.hashes)


cdef class Slots:
    """A hash table of domains: exact ones whole, wildcards without their star. The first host that names a domain has it."""

    cdef fgw_img_slot *slots
    cdef readonly uint32_t first, count
    cdef readonly uint32_t longest
    cdef readonly bint at_labels
    cdef uint64_t lengths[8]
    cdef bint wild

    def __cinit__(self, uint32_t first, uint64_t keys, bint wild):
        self.first, self.wild, self.at_labels = first, wild, True
        self.count = <uint32_t>(keys * 3 // 2 + 1) if keys else 0
        self.slots = <fgw_img_slot *>calloc(self.count + 1, sizeof(fgw_img_slot))
        if self.slots == NULL:
            raise MemoryError
        cdef uint32_t i
        for i in range(self.count):
            self.slots[i].value = FGW_NONE
            self.slots[i].hint = FGW_NONE

    def __dealloc__(self):
        free(self.slots)

    @property
    def length_words(self):
        """Bit n of the 512: there is a key of n bytes."""
        return tuple([self.lengths[i] for i in range(8)])

    cdef int put(self, bytes domain, uint32_t code, uint32_t vhost, uint32_t hint, bytearray shared) except -1:
        cdef const char *key = PyBytes_AS_STRING(domain) + self.wild
        cdef uint32_t length = <uint32_t>(PyBytes_GET_SIZE(domain) - self.wild)
        cdef uint32_t at = <uint32_t>((<uint64_t>code * self.count) >> 32)
        while self.slots[at].value != FGW_NONE:
            if self.is_key(&self.slots[at], code, key, length, shared):
                return 1
            at = at + 1 if at + 1 < self.count else 0
        cdef fgw_img_slot *slot = &self.slots[at]
        slot.hash, slot.value, slot.hint, slot.key_len = code, vhost, hint, length
        memcpy(slot.key, key, min(length, <uint32_t>FGW_SLOT_INLINE))
        if length > FGW_SLOT_INLINE:
            slot.key_off = <uint32_t>len(shared)
            shared += key[:length]
        self.lengths[length // 64] |= <uint64_t>1 << (length % 64)
        self.longest = max(self.longest, length)
        self.at_labels = self.at_labels and length > 0 and key[0] == b"."
        return 1

    cdef bint is_key(self, const fgw_img_slot *slot, uint32_t code, const char *key, uint32_t length, bytearray shared) except -1:
        if slot.hash != code or slot.key_len != length:
            return False
        if length <= FGW_SLOT_INLINE:
            return memcmp(slot.key, key, length) == 0
        return shared[slot.key_off:slot.key_off + length] == key[:length]


cdef uint64_t links = 0


cdef class Linker:
    """One link. Pieces are added in the order in which they are to lie; ``write`` fills the tables."""

    cdef Format form
    cdef uint64_t link
    cdef uint64_t totals[TABLES_MAX]
    cdef list pieces, hosts, domain_tables, regexes
    cdef bytearray shared
    cdef dict clusters
    cdef uint64_t shared_base

    def __init__(self, Format form, uint32_t host_count):
        """``host_count``: of all route tables; so many trie roots lie before all other nodes."""
        global links
        links += 1
        self.link = links
        self.form = form
        self.pieces, self.hosts, self.domain_tables, self.regexes = [], [], [], []
        self.shared = bytearray()
        self.totals[form.nodes] = host_count

    def add(self, Piece piece not None):
        """The piece comes next. Whatever it refers to as foreign has been added before."""
        self.place(piece)

    def add_hosts(self, list hosts not None):
        """The virtual hosts of one route table. Returns the index of the first."""
        cdef Host host
        first = self.totals[self.form.vhosts]
        for host in hosts:
            if host.own.link == self.link:
                raise ValueError("the same virtual host twice")
            if host.rules.link != self.link:
                self.place(host.rules)
            self.place(host.own)
            self.hosts.append(host)
        return first

    def add_domains(self, list hosts not None):
        """The hash tables for the domains of hosts that have been added: (exact Slots, wildcard Slots, host of "*")."""
        cdef Host host
        cdef bytes domain
        cdef Py_ssize_t i
        cdef uint32_t vhost, hint, default = FGW_NONE
        cdef uint64_t wild = 0, exact = 0
        for host in hosts:
            for domain in host.domains:
                if PyBytes_AS_STRING(domain)[0] != b"*":
                    exact += 1
                elif PyBytes_GET_SIZE(domain) > 1:
                    wild += 1
        cdef Slots exacts = self.slots(exact, False)
        cdef Slots wilds = self.slots(wild, True)
        for host in hosts:
            vhost = host.own.bases[self.form.vhosts]
            hint = host.rules.bases[self.form.rules] if host.rules.counts[self.form.rules] else FGW_NONE
            for i in range(len(host.domains)):
                domain = host.domains[i]
                if PyBytes_AS_STRING(domain)[0] != b"*":
                    exacts.put(domain, host.hashes[i], vhost, hint, self.shared)
                elif PyBytes_GET_SIZE(domain) > 1:
                    wilds.put(domain, host.hashes[i], vhost, hint, self.shared)
                elif default == FGW_NONE:
                    default = vhost
        return exacts, wilds, default

    def add_names(self, list names not None, list values not None):
        """The hash tables for names (bytes, as domains are) with values that count for the whole image; the first value of a name
        has it. (exact Slots, wildcard Slots, value of "*")."""
        cdef bytes name
        cdef uint32_t default = FGW_NONE
        cdef uint32_t code
        cdef list exact = [], wild = []
        for name, value in zip(names, values, strict=True):
            if not name.startswith(b"*"):
                exact.append((name, value))
            elif len(name) > 1:
                wild.append((name, value))
            elif default == FGW_NONE:
                default = value
        cdef Slots exacts = self.slots(len(exact), False)
        cdef Slots wilds = self.slots(len(wild), True)
        for name, value in exact:
            exacts.put(name, fgw_hash_forward(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name)), value, FGW_NONE, self.shared)
        for name, value in wild:
            code = fgw_hash_backward(PyBytes_AS_STRING(name) + 1, PyBytes_GET_SIZE(name) - 1)
            wilds.put(name, code, value, FGW_NONE, self.shared)
        return exacts, wilds, default

    def counts(self):
        """Records of each table, when all pieces have been added."""
        cdef list counts = [self.totals[t] for t in range(self.form.count)]
        counts[self.form.regexes] = len(self.regexes)
        self.shared_base = self.totals[self.form.strings]
        counts[self.form.strings] = self.shared_base + len(self.shared)
        return counts

    def write(self, unsigned char[::1] out not None, list offsets not None):
        """Fill the tables of a zeroed image; ``offsets`` are their places, ``counts`` was asked for before."""
        cdef uint64_t places[TABLES_MAX]
        cdef Piece piece
        cdef Host host
        cdef uint32_t t
        cdef char *image = <char *>&out[0]
        for t in range(self.form.count):
            places[t] = offsets[t]
        for piece in self.pieces:
            self.write_piece(piece, image, places)
        cdef uint32_t node_bytes = self.form.layouts[self.form.nodes].record_bytes
        for host in self.hosts:
            self.write_root(host, image + places[self.form.nodes], node_bytes)
        self.write_shared(image, places)

    # --- adding ---

    cdef int place(self, Piece piece) except -1:
        cdef uint32_t t
        cdef Symbol symbol
        piece.link = self.link
        for t in range(self.form.count):
            piece.bases[t] = <uint32_t>self.totals[t]
            self.totals[t] += piece.counts[t]
        if piece.rooted:
            # its root lies elsewhere, so its other nodes come one place earlier
            piece.bases[self.form.nodes] -= 1
            self.totals[self.form.nodes] -= 1
        if piece.defines is not None:
            piece.defines.link = self.link
            piece.defines.value = piece.bases[piece.defined]
        for symbol in piece.symbols:
            if symbol.link != self.link:
                self.define(symbol)
        self.pieces.append(piece)
        return 1

    cdef int define(self, Symbol symbol) except -1:
        symbol.link = self.link
        if symbol.kind == CLUSTER:
            symbol.value = FGW_NONE  # no piece defines it
        elif symbol.kind == STRING:
            symbol.value = <uint32_t>len(self.shared)
            self.shared += symbol.text
        else:
            symbol.value = <uint32_t>len(self.regexes)
            self.regexes.append((len(self.shared), len(symbol.text), len(self.shared) + len(symbol.text), len(symbol.more)))
            self.shared += symbol.text
            self.shared += symbol.more
        return 1

    cdef Slots slots(self, uint64_t keys, bint wild):
        cdef Slots slots = Slots(<uint32_t>self.totals[self.form.slots], keys, wild)
        self.totals[self.form.slots] += slots.count
        self.domain_tables.append(slots)
        return slots

    # --- writing ---

    cdef int write_piece(self, Piece piece, char *image, const uint64_t *places) except -1:
        cdef const char *source = piece.data
        cdef uint32_t t, skip, count, record_bytes
        cdef char *target
        for t in range(piece.tables):
            count = piece.counts[t]
            if count == 0:
                continue
            record_bytes = self.form.layouts[t].record_bytes
            skip = 1 if piece.rooted and t == self.form.nodes else 0
            target = image + places[t] + <uint64_t>(piece.bases[t] + skip) * record_bytes
            memcpy(target, source + skip * record_bytes, <size_t>(count - skip) * record_bytes)
            self.move_records(piece, t, target, count - skip)
            source += <size_t>count * record_bytes
        return 1

    cdef int move_records(self, Piece piece, uint32_t t, char *records, uint32_t count) except -1:
        cdef const Layout *layout = &self.form.layouts[t]
        cdef const Field *field
        cdef uint32_t f, i
        cdef uint32_t *value
        for f in range(layout.field_count):
            field = &layout.fields[f]
            for i in range(count):
                value = <uint32_t *>(records + <size_t>i * layout.record_bytes + field.offset)
                if value[0] != FGW_NONE:
                    value[0] = self.moved(piece, field, value[0])
        return 1

    cdef inline uint32_t moved(self, Piece piece, const Field *field, uint32_t value) except? 0:
        cdef Symbol symbol
        if field.kind == INDEX:
            return piece.bases[field.target] + value
        if field.kind == LIST:
            if value & <uint32_t>FGW_SINGLE:
                return piece.bases[self.form.rules] + value
            return piece.bases[self.form.lists] + value
        if field.kind == FOREIGN:
            return piece.goes_with.bases[field.target] + value
        symbol = <Symbol>piece.symbols[value]
        return symbol.value + (<uint32_t>self.shared_base if symbol.kind == STRING else 0)

    cdef int write_root(self, Host host, char *nodes, uint32_t node_bytes) except -1:
        """The root of the trie at the virtual host's own place; hosts with the same rules share all that is below."""
        cdef Piece piece = host.rules
        cdef const char *source = piece.data
        cdef uint32_t t
        for t in range(self.form.nodes):
            source += <size_t>piece.counts[t] * self.form.layouts[t].record_bytes
        cdef char *target = nodes + <size_t>host.own.bases[self.form.vhosts] * node_bytes
        memcpy(target, source, node_bytes)
        return self.move_records(piece, self.form.nodes, target, 1)

    cdef int write_shared(self, char *image, const uint64_t *places) except -1:
        """What belongs to no piece: shared strings, regexes, the hash tables of domains."""
        cdef const unsigned char[::1] view
        cdef uint32_t base = <uint32_t>self.shared_base
        cdef uint32_t *record = <uint32_t *>(image + places[self.form.regexes])
        cdef uint32_t record_words = self.form.layouts[self.form.regexes].record_bytes // 4
        cdef fgw_img_slot *target
        cdef Slots slots
        cdef uint32_t i
        if self.shared:
            view = self.shared
            memcpy(image + places[self.form.strings] + base, &view[0], view.shape[0])
        for pattern_at, pattern_len, prefix_at, prefix_len in self.regexes:
            record[0], record[1], record[2], record[3] = base + pattern_at, pattern_len, base + prefix_at, prefix_len
            record += record_words
        for slots in self.domain_tables:
            target = <fgw_img_slot *>(image + places[self.form.slots]) + slots.first
            memcpy(target, slots.slots, <size_t>slots.count * sizeof(fgw_img_slot))
            for i in range(slots.count):
                if target[i].key_len > FGW_SLOT_INLINE:
                    target[i].key_off += base
        return 1
