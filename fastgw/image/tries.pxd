"""Path tries of an image."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastgw.image.link cimport Buffer
from fastgw.image.tables cimport Tables


cdef extern from "fgw/image.h" nogil:
    enum:
        FGW_SINGLE
        FGW_LABEL_INLINE

    ctypedef struct fgw_img_node:
        uint64_t children[4]
        uint8_t label[8]
        uint32_t label_len
        uint32_t label_off
        uint8_t rank[4]
        uint32_t first_child
        uint32_t below
        uint32_t at_end

    ctypedef struct fgw_img_list:
        uint32_t first
        uint32_t count
        uint32_t group
        uint32_t regex_set
        uint32_t next


# A place where a rule hangs: for every path that begins with the key, or only for the path that is equal to it.
cdef struct Hook:
    const char *key
    uint32_t length
    uint32_t rank
    uint32_t at_end

# The hooks of one key: from `first` those of every path below, from `at_end` those of the very path.
cdef struct Spot:
    const char *key
    uint32_t length
    uint32_t first
    uint32_t at_end
    uint32_t stop

# The list of a node. `merged`, `count`: its whole content when short (in ranks); a chain has none. `bound`: no rank above it wins.
cdef struct Inherited:
    uint32_t ref
    uint32_t bound
    uint32_t merged
    uint32_t count
    bint chained

# A node to be written: its place, its spots low..high - 1 of which `depth` bytes are consumed, what it inherits.
cdef struct Pending:
    uint32_t node
    uint32_t low
    uint32_t high
    uint32_t depth
    Inherited above


cdef class TrieWriter:
    cdef Tables tables
    cdef object lists
    cdef dict written
    cdef list keys
    cdef Buffer facts, ranks, spots, queue
    cdef Buffer hooks[2]
    cdef const Hook *hooks_now  # sorted, those of the trie that is being written

    cdef int begin(self, rules) except -1
    cdef int note(self, bint conditional, bint regex) except -1
    cdef int hang(self, bint fold, bytes key, uint32_t rank, bint at_end) except -1
    cdef bint is_empty(self, bint fold) noexcept
    cdef int write(self, bint fold, uint32_t root) except -1
    cdef fgw_img_node *node(self, uint32_t index) noexcept
    cdef int find_spots(self, Buffer *hooks) except -1
    cdef int write_node(self, Pending pending) except -1
    cdef int queue_children(self, Pending pending, const Inherited *below) except -1
    cdef int put_label(self, uint32_t index, const char *label, uint32_t length) except -1
    cdef Inherited extend(self, Inherited above, uint32_t first, uint32_t stop) except *
    cdef uint32_t merge(self, uint32_t at, uint32_t count, Inherited above, uint32_t bound) except? 0xffffffff
    cdef uint32_t ref(self, uint32_t at, uint32_t count, uint32_t following) except? 0
    cdef uint32_t add_list(self, const uint32_t *ranks, uint32_t count, uint32_t following) except? 0xffffffff
