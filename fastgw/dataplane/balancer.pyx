"""Endpoint choice: power of two choices on the in-flight counts that all workers share, round robin, random.

Weights: with unequal weights least request compares (active + 1) / weight, the others draw by weight. An ejected or
unhealthy endpoint is never chosen (statement H4: none left is "no healthy upstream").
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from fastgw.dataplane.context cimport Context, Image
from fastgw.dataplane.served cimport Address
from fastgw.native.route cimport (
    FGW_DISCOVERY_DNS, FGW_ENDPOINT_UNHEALTHY, FGW_LB_RANDOM, FGW_LB_ROUND_ROBIN, fgw_img_cluster, fgw_img_endpoint,
)
from fastgw.native.state cimport FGW_CELL_EJECTED, FGW_CELL_UNHEALTHY, FGW_DNS_UNKNOWN, FGW_STATE_CELLS, fgw_dns_slot, fgw_dns_read
from fastgw.native.system cimport FGW_ATOMIC_LOAD32

cdef enum:
    CANDIDATES = 128          # endpoints looked at in one choice; a larger cluster is looked at from a random place

cdef struct Candidate:
    uint32_t index
    uint32_t weight
    uint32_t cell

# round-robin positions, by cluster index: approximate over reloads, exact between them
cdef uint32_t positions[4096]


cdef bint usable(Context ctx, uint32_t cell) noexcept:
    cdef uint32_t flags
    if cell >= FGW_STATE_CELLS:
        return False
    flags = FGW_ATOMIC_LOAD32(&ctx.state.cells[cell].flags)
    return not flags & (FGW_CELL_EJECTED | FGW_CELL_UNHEALTHY)


cdef double load_of(Context ctx, const Candidate *c) noexcept:
    return (<double>FGW_ATOMIC_LOAD32(&ctx.state.cells[c.cell].active) + 1.0) / c.weight


cdef uint32_t choose_by_weight(Context ctx, const Candidate *c, uint32_t n) noexcept:
    cdef uint64_t total = 0, draw
    cdef uint32_t i
    for i in range(n):
        total += c[i].weight
    draw = ctx.random() % total
    for i in range(n):
        if draw < c[i].weight:
            return i
        draw -= c[i].weight
    return n - 1


cdef uint32_t choose(Context ctx, int lb, uint32_t cluster, const Candidate *c, uint32_t n, bint equal) noexcept:
    cdef uint32_t a, b
    cdef uint64_t draw
    if n == 1:
        return 0
    if lb == FGW_LB_ROUND_ROBIN and equal:
        positions[cluster & 4095] += 1
        return positions[cluster & 4095] % n
    if lb == FGW_LB_RANDOM or lb == FGW_LB_ROUND_ROBIN:
        return choose_by_weight(ctx, c, n)
    draw = ctx.random()
    a = <uint32_t>draw % n
    b = <uint32_t>(draw >> 32) % (n - 1)
    if b >= a:
        b += 1
    return a if load_of(ctx, &c[a]) <= load_of(ctx, &c[b]) else b


cdef int pick_static(Context ctx, Image image, uint32_t cluster, uint32_t avoid_cell, Address *out) except -1:
    cdef const fgw_img_cluster *cl = &image.clusters[cluster]
    cdef const fgw_img_endpoint *all_of = image.endpoints + cl.endpoints.off
    cdef const fgw_img_endpoint *e
    cdef Candidate found[CANDIDATES]
    cdef uint32_t n = 0, i, at, count = cl.endpoints.count
    cdef uint32_t first = 0, avoided = 0
    cdef bint equal = True
    if count > CANDIDATES:
        first = <uint32_t>(ctx.random() % count)
    for i in range(count):
        at = first + i
        if at >= count:
            at -= count
        e = &all_of[at]
        if e.flags & FGW_ENDPOINT_UNHEALTHY or not usable(ctx, e.cell):
            continue
        if e.cell == avoid_cell:
            avoided = at + 1
            continue
        found[n].index = at
        found[n].weight = e.weight if e.weight else 1
        found[n].cell = e.cell
        equal = equal and found[n].weight == found[0].weight
        n += 1
        if n == CANDIDATES:
            break
    if n == 0:
        if not avoided:
            return 0
        at = avoided - 1  # the only one left is the one to avoid
    else:
        at = found[choose(ctx, cl.lb, cluster, found, n, equal)].index
    e = &all_of[at]
    out.family = e.family
    out.port = e.port
    memcpy(out.ip, e.ip, 16)
    out.cell = e.cell
    out.path_len = e.path.len if e.path.len < sizeof(out.path) else 0
    memcpy(out.path, image.strings + e.path.off, out.path_len)
    return 1


cdef int pick_dns(Context ctx, Image image, uint32_t cluster, uint32_t avoid_cell, Address *out) except -1:
    cdef const fgw_img_cluster *cl = &image.clusters[cluster]
    cdef fgw_dns_slot slot
    cdef Candidate found[32]
    cdef uint32_t n = 0, i, at, avoided = 0
    cdef int status = fgw_dns_read(&ctx.state.dns[cl.dns_slot], &slot)
    if status == FGW_DNS_UNKNOWN:
        return 2
    for i in range(slot.count):
        if not usable(ctx, slot.addresses[i].cell):
            continue
        if slot.addresses[i].cell == avoid_cell:
            avoided = i + 1
            continue
        found[n].index = i
        found[n].weight = 1
        found[n].cell = slot.addresses[i].cell
        n += 1
    if n == 0:
        if not avoided:
            return 0
        at = avoided - 1
    else:
        at = found[choose(ctx, cl.lb, cluster, found, n, True)].index
    out.family = slot.addresses[at].family
    out.port = <unsigned short>slot.port
    memcpy(out.ip, slot.addresses[at].ip, 16)
    out.cell = slot.addresses[at].cell
    out.path_len = 0
    return 1


cdef int pick(Context ctx, Image image, uint32_t cluster, uint32_t avoid_cell, Address *out) except -1:
    """An endpoint into *out (enum Picked). `avoid_cell` is taken only when it is the last one left."""
    if image.clusters[cluster].discovery == FGW_DISCOVERY_DNS:
        return pick_dns(ctx, image, cluster, avoid_cell, out)
    return pick_static(ctx, image, cluster, avoid_cell, out)
