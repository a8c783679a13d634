"""Endpoint choice. The rules are in ext/src/balance.c; a worker brings the time, chance, and its round-robin positions."""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from fastgw.dataplane.context cimport Image
from fastgw.dataplane.served cimport Address, Served
from fastgw.native.balance cimport FGW_PICK_ONE, fgw_ask, fgw_pick, fgw_target

# round-robin positions, by cluster index: approximate over reloads, exact between them
cdef uint32_t positions[4096]


cdef int pick(Served s, const uint32_t *avoid, uint32_t avoid_count, uint32_t *skip_levels) except -1:
    """An endpoint of s.cluster into s.address (enum Picked). Cells to avoid are taken only when no other is left, and levels of
    priority to skip (a set of bits, NULL for none) when no other can be used: the set is empty then."""
    cdef Image image = s.image
    cdef Address *to = &s.address
    cdef fgw_ask ask
    cdef fgw_target found
    cdef int picked
    ask.random = s.ctx.random()
    ask.now_ms = <uint64_t>s.ctx.loop.now_ms
    ask.key, ask.has_key = s.hash_key, s.has_key
    ask.avoid, ask.avoid_count = avoid, avoid_count
    ask.position = positions[s.cluster & 4095]
    ask.skip_levels = 0 if skip_levels == NULL else skip_levels[0]
    picked = fgw_pick(image.base, s.ctx.state, s.cluster, &ask, &found)
    positions[s.cluster & 4095] = ask.position
    if skip_levels != NULL:
        skip_levels[0] = ask.skip_levels
    if picked != FGW_PICK_ONE:
        return picked
    to.family, to.port, to.cell, to.level = found.family, found.port, found.cell, found.level
    memcpy(to.ip, found.ip, 16)
    to.path_len = found.path.len if found.path.len < sizeof(to.path) else 0
    memcpy(to.path, image.strings + found.path.off, to.path_len)
    return picked
