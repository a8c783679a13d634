"""Path tries of an image: where each rule hangs, and the candidate lists of the nodes.

A rule hangs at the key that every matching path begins with: the path of an exact or prefix condition, the literal prefix of a
regex, "" for no condition. A node's list holds what hangs on the way from the root, in match order, cut after the first rule that
has no further condition. Where lists would grow long they are not merged but chained to the list of the nearest prefix above.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, qsort
from libc.string cimport memcmp, memcpy

from fastgw.image.link cimport Buffer
from fastgw.image.tables cimport Tables, add_bytes
from fastgw.native.route cimport FGW_NONE

from fastgw.image.lists import GROUP_MIN, MERGE_LIMIT, Lists
from fastgw.image.references import NUMBERS


cdef extern from *:
    int __builtin_popcountll(unsigned long long) noexcept nogil


cdef enum:
    CONDITIONAL = 1
    REGEX = 2

cdef uint32_t LONGEST_MERGED = MERGE_LIMIT
cdef uint32_t LONG = GROUP_MIN
cdef uint32_t NODES = NUMBERS["nodes"]
cdef uint32_t LISTS = NUMBERS["lists"]
cdef uint32_t CANDIDATES = NUMBERS["candidates"]


cdef int by_key(const void *one, const void *other) noexcept nogil:
    """Hooks by key; those of one key that hold below it first, then in match order."""
    cdef const Hook *a = <const Hook *>one
    cdef const Hook *b = <const Hook *>other
    cdef int order = memcmp(a.key, b.key, min(a.length, b.length))
    if order != 0:
        return order
    if a.length != b.length:
        return -1 if a.length < b.length else 1
    if a.at_end != b.at_end:
        return -1 if a.at_end < b.at_end else 1
    return -1 if a.rank < b.rank else 1


cdef uint32_t common_length(const Spot *first, const Spot *last, uint32_t start) noexcept:
    cdef uint32_t end = min(first.length, last.length)
    if first == last:
        return end
    while start < end and first.key[start] == last.key[start]:
        start += 1
    return start


cdef class TrieWriter:
    """Writes the tries of one list of rules after another. Children of a node are adjacent and come after it."""

    def __init__(self, Tables tables):
        self.tables, self.lists = tables, Lists(tables)
        self.written, self.keys = {}, []

    def __dealloc__(self):
        free(self.facts.data)
        free(self.ranks.data)
        free(self.spots.data)
        free(self.queue.data)
        free(self.hooks[0].data)
        free(self.hooks[1].data)

    # --- the rules ---

    cdef int begin(self, rules) except -1:
        """Other rules. Each is to be noted, in match order, and hung."""
        self.facts.used = self.ranks.used = self.hooks[0].used = self.hooks[1].used = 0
        self.written, self.keys = {}, []
        self.lists.begin(rules)
        return 1

    cdef int note(self, bint conditional, bint regex) except -1:
        """The next rule: has it conditions beyond the trie's, has it regexes?"""
        (<uint8_t *>add_bytes(&self.facts, 1))[0] = (CONDITIONAL if conditional else 0) | (REGEX if regex else 0)
        return 1

    cdef int hang(self, bint fold, bytes key, uint32_t rank, bint at_end) except -1:
        """A rule hangs at a key of the plain trie or of the one for ignored case."""
        cdef Hook *hook = <Hook *>add_bytes(&self.hooks[fold], sizeof(Hook))
        hook.key, hook.length, hook.rank, hook.at_end = PyBytes_AS_STRING(key), <uint32_t>PyBytes_GET_SIZE(key), rank, at_end
        self.keys.append(key)
        return 1

    cdef bint is_empty(self, bint fold) noexcept:
        return self.hooks[fold].used == 0

    # --- nodes ---

    cdef int write(self, bint fold, uint32_t root) except -1:
        """Write a trie with its root at a node that is reserved already."""
        cdef Inherited nothing = Inherited(FGW_NONE, FGW_NONE, 0, 0, False)
        cdef uint32_t count = self.find_spots(&self.hooks[fold])
        cdef fgw_img_node *node
        if count == 0:
            node = self.node(root)
            node.below = node.at_end = FGW_NONE
            return 1
        self.queue.used = 0
        (<Pending *>add_bytes(&self.queue, sizeof(Pending)))[0] = Pending(root, 0, count, 0, nothing)
        cdef size_t at = 0
        while at < self.queue.used:
            self.write_node((<Pending *>(self.queue.data + at))[0])
            at += sizeof(Pending)
        return 1

    cdef inline fgw_img_node *node(self, uint32_t index) noexcept:
        """Valid until the next one is added."""
        return <fgw_img_node *>self.tables.buffers[NODES].data + index

    cdef int find_spots(self, Buffer *hooks) except -1:
        """The distinct keys in order. Their number."""
        cdef Hook *all = <Hook *>hooks.data
        cdef uint32_t count = <uint32_t>(hooks.used // sizeof(Hook)), i, spots = 0
        cdef Spot *spot = NULL
        self.spots.used = 0
        if count > 1:
            qsort(all, count, sizeof(Hook), by_key)
        for i in range(count):
            if spot == NULL or spot.length != all[i].length or memcmp(spot.key, all[i].key, spot.length) != 0:
                spot = <Spot *>add_bytes(&self.spots, sizeof(Spot))
                spot.key, spot.length, spot.first, spot.at_end = all[i].key, all[i].length, i, i
                spots += 1
            spot.stop = i + 1
            if not all[i].at_end:
                spot.at_end = i + 1
        self.hooks_now = all
        return spots

    cdef int write_node(self, Pending pending) except -1:
        cdef const Spot *spots = <const Spot *>self.spots.data
        cdef const Spot *spot = spots + pending.low
        cdef Inherited below = pending.above, at_end = pending.above
        cdef uint32_t end = common_length(spot, spots + pending.high - 1, pending.depth)
        if spot.length == end:
            pending.low += 1
            below = self.extend(below, spot.first, spot.at_end)
            at_end = self.extend(below, spot.at_end, spot.stop)
        cdef uint32_t begin = pending.depth
        pending.depth = end
        self.queue_children(pending, &below)
        self.put_label(pending.node, spot.key + begin, end - begin)
        cdef fgw_img_node *node = self.node(pending.node)
        node.below, node.at_end = below.ref, at_end.ref
        return 1

    cdef int queue_children(self, Pending pending, const Inherited *below) except -1:
        """The spots of ``pending`` that are left, by their next byte."""
        cdef const Spot *spots = <const Spot *>self.spots.data
        cdef uint64_t children[4]
        cdef uint32_t first = self.tables.count_of(NODES), start = pending.low, stop, count = 0, word
        cdef uint8_t byte
        children[0] = children[1] = children[2] = children[3] = 0
        while start < pending.high:
            byte = <uint8_t>spots[start].key[pending.depth]
            stop = start + 1
            while stop < pending.high and <uint8_t>spots[stop].key[pending.depth] == byte:
                stop += 1
            (<Pending *>add_bytes(&self.queue, sizeof(Pending)))[0] = Pending(first + count, start, stop, pending.depth, below[0])
            children[byte // 64] |= <uint64_t>1 << (byte % 64)
            count += 1
            start = stop
        if count == 0:
            return 1
        self.tables.add(NODES, count)
        cdef fgw_img_node *node = self.node(pending.node)
        node.first_child = first
        count = 0
        for word in range(4):
            node.children[word] = children[word]
            node.rank[word] = <uint8_t>count
            count += __builtin_popcountll(children[word])
        return 1

    cdef int put_label(self, uint32_t index, const char *label, uint32_t length) except -1:
        cdef uint32_t offset = 0
        if length > FGW_LABEL_INLINE:
            offset = self.tables.place(PyBytes_FromStringAndSize(label, length)).off
        cdef fgw_img_node *node = self.node(index)
        node.label_len, node.label_off = length, offset
        memcpy(node.label, label, min(length, <uint32_t>FGW_LABEL_INLINE))
        return 1

    # --- lists ---

    cdef Inherited extend(self, Inherited above, uint32_t first, uint32_t stop) except *:
        """The list of the hooks ``first`` .. ``stop - 1`` and everything above; none after the first without further condition."""
        cdef uint32_t at = <uint32_t>(self.ranks.used // sizeof(uint32_t)), count = 0, i, rank
        cdef Inherited result = above
        for i in range(first, stop):
            rank = self.hooks_now[i].rank
            if rank > above.bound:
                break
            (<uint32_t *>add_bytes(&self.ranks, sizeof(uint32_t)))[0] = rank
            count += 1
            if not self.facts.data[rank] & CONDITIONAL:
                result.bound = rank
                break
        if count == 0:
            return above
        if above.chained or count + above.count > LONGEST_MERGED:
            result.ref, result.chained = self.ref(at, count, above.ref), True
            return result
        result.merged = at + count
        result.count = self.merge(at, count, above, result.bound)
        result.ref = self.ref(result.merged, result.count, FGW_NONE)
        return result

    cdef uint32_t merge(self, uint32_t at, uint32_t count, Inherited above, uint32_t bound) except? 0xffffffff:
        """``count`` ranks from ``at`` and those above, in order, to the end of the ranks. How many can win."""
        cdef uint32_t i = 0, j = 0, kept = 0, rank
        add_bytes(&self.ranks, (count + above.count) * sizeof(uint32_t))
        cdef uint32_t *ranks = <uint32_t *>self.ranks.data
        cdef uint32_t *target = ranks + at + count
        while i < count or j < above.count:
            if j == above.count or (i < count and ranks[at + i] < ranks[above.merged + j]):
                rank = ranks[at + i]
                i += 1
            else:
                rank = ranks[above.merged + j]
                j += 1
            if rank > bound:
                break
            target[kept] = rank
            kept += 1
            if not self.facts.data[rank] & CONDITIONAL:
                break
        return kept

    cdef uint32_t ref(self, uint32_t at, uint32_t count, uint32_t following) except? 0:
        """A list reference for ``count`` ranks from ``at``, and what comes after them."""
        cdef const uint32_t *ranks = <const uint32_t *>self.ranks.data + at
        cdef uint32_t i
        cdef bint plain = count < LONG
        if count == 1 and following == FGW_NONE:
            return <uint32_t>FGW_SINGLE | ranks[0]
        for i in range(count):
            plain = plain and not self.facts.data[ranks[i]] & REGEX
        if not plain:
            return self.lists.ref([ranks[i] for i in range(count)], following)
        key = (PyBytes_FromStringAndSize(<const char *>ranks, count * sizeof(uint32_t)), following)
        known = self.written.get(key)
        if known is None:
            known = self.written[key] = self.add_list(ranks, count, following)
        return known

    cdef uint32_t add_list(self, const uint32_t *ranks, uint32_t count, uint32_t following) except? 0xffffffff:
        cdef uint32_t first = self.tables.count_of(CANDIDATES), index = self.tables.count_of(LISTS)
        memcpy(self.tables.add(CANDIDATES, count), ranks, count * sizeof(uint32_t))
        cdef fgw_img_list *record = <fgw_img_list *>self.tables.add(LISTS, 1)
        record.first, record.count, record.group, record.regex_set, record.next = first, count, FGW_NONE, FGW_NONE, following
        return index
