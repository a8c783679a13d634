"""Where every key and value of a document stands: a packed table (24 bytes a value) that is looked up by path.

The table is independent of the values: keys are kept as 32-bit hashes, so the decoded document need not stay in memory.
Two keys of one mapping with the same hash would only exchange their line numbers.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdlib cimport free, realloc

from fastgw.model.origin import Origin
from fastgw.model.paths import split_path


cdef uint32_t hash_key(const unsigned char *text, size_t length) noexcept nogil:
    """FNV-1a; never 0, which stands for "no key"."""
    cdef uint32_t value = 2166136261u
    cdef size_t i
    for i in range(length):
        value = (value ^ text[i]) * 16777619u
    return value if value != 0 else 1


cdef class TableBuilder:
    """Collects the records of one document at a time; the memory is used again for the next."""

    def __dealloc__(self):
        free(self.nodes)

    cdef int clear(self) except -1:
        self.used = 0
        return 1

    cdef long open(self, uint32_t key_hash, uint32_t key_line, uint32_t key_column, uint32_t line, uint32_t column) except -1:
        """Adds a record and returns its index, which ``close`` wants when its sub-tree is complete."""
        cdef Node *grown
        cdef uint32_t room
        if self.used == self.room:
            room = self.room * 2 if self.room else 256
            grown = <Node *>realloc(self.nodes, room * sizeof(Node))
            if grown == NULL:
                raise MemoryError
            self.nodes = grown
            self.room = room
        cdef Node *node = &self.nodes[self.used]
        node.key_hash = key_hash
        node.key_line = key_line
        node.key_column = key_column
        node.line = line
        node.column = column
        node.size = 1
        self.used += 1
        return self.used - 1

    cdef int close(self, uint32_t index) except -1:
        self.nodes[index].size = self.used - index
        return 1

    cdef bytes take(self):
        cdef bytes table = PyBytes_FromStringAndSize(<char *>self.nodes, self.used * sizeof(Node))
        self.used = 0
        return table


cdef class DocumentPlaces:
    """Implements ``fastgw.model.resource.Places`` for one document (or one item of a List)."""

    def __cinit__(self, str file, bytes table):
        if not table or len(table) % sizeof(Node):
            raise ValueError("a position table has whole records and at least one")
        self.file = file
        self.table = table

    def __reduce__(self):
        return DocumentPlaces, (self.file, self.table)

    cdef const Node *nodes(self) noexcept:
        return <const Node *>PyBytes_AS_STRING(self.table)

    cdef long child(self, uint32_t parent, step) except -2:
        """Index of the child that ``step`` (str key or int item) names, or -1."""
        cdef const Node *nodes = self.nodes()
        cdef uint32_t at = parent + 1, end = parent + nodes[parent].size
        cdef uint32_t wanted = 0
        cdef long skip = 0
        cdef bytes key
        if isinstance(step, str):
            key = (<str>step).encode("utf-8", "surrogatepass")
            wanted = hash_key(<const unsigned char *>PyBytes_AS_STRING(key), len(key))
        else:
            skip = step
        while at < end:
            if nodes[at].key_hash == wanted:
                if wanted != 0 or skip == 0:
                    return at
                skip -= 1
            at += nodes[at].size
        return -1

    cdef long walk(self, str path, bint nearest) except -2:
        """Index of the value at ``path``; when it is not there, of its nearest ancestor or -1."""
        cdef uint32_t here = 0
        cdef long found = -1
        cdef tuple steps = split_path(path)
        cdef Py_ssize_t at = 0, taken
        while at < len(steps):
            # a key may hold dots itself: the shortest run of steps that names a child is taken
            taken = 1
            while True:
                step = steps[at] if taken == 1 else ".".join(map(str, steps[at:at + taken]))
                found = self.child(here, step)
                if found >= 0 or at + taken >= len(steps):
                    break
                taken += 1
            if found < 0:
                return here if nearest else -1
            here = <uint32_t>found
            at += taken
        return here

    def find(self, str path):
        """Origin of the value at ``path``; of its nearest ancestor when it is not there."""
        cdef const Node *node = &self.nodes()[self.walk(path, True)]
        return Origin(self.file, node.line, node.column)

    def find_key(self, str path):
        """Origin of the key at ``path`` (of the item, in a list); of the nearest ancestor when it is not there."""
        cdef const Node *node = &self.nodes()[self.walk(path, True)]
        if node.key_line:
            return Origin(self.file, node.key_line, node.key_column)
        return Origin(self.file, node.line, node.column)

    def has(self, str path):
        """Whether the document holds a value at ``path`` (an alias counts, what it stands for does not)."""
        return self.walk(path, False) >= 0

    def items(self, str path):
        """The places of each child of the value at ``path``, [] when it is not there."""
        cdef long parent = self.walk(path, False)
        cdef list out = []
        if parent < 0:
            return out
        cdef const Node *nodes = self.nodes()
        cdef long at = parent + 1, end = parent + nodes[parent].size
        while at < end:
            out.append(DocumentPlaces(self.file, self.table[at * sizeof(Node):(at + nodes[at].size) * sizeof(Node)]))
            at += nodes[at].size
        return out
