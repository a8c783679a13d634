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
from fastgw.native.state cimport (
    FGW_CELL_EJECTED, FGW_CELL_UNHEALTHY, FGW_DNS_OK, FGW_DNS_UNKNOWN, FGW_STATE_CELLS, fgw_dns_address, fgw_dns_read, fgw_dns_slot,
)
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


cdef int take_static(Image image, const fgw_img_endpoint *e, Address *out) noexcept:
    out.family = e.family
    out.port = e.port
    memcpy(out.ip, e.ip, 16)
    out.cell = e.cell
    out.path_len = e.path.len if e.path.len < sizeof(out.path) else 0
    memcpy(out.path, image.strings + e.path.off, out.path_len)
    return PICK_ONE


cdef int take_resolved(const fgw_dns_address *a, Address *out) noexcept:
    out.family = a.family
    out.port = a.port
    memcpy(out.ip, a.ip, 16)
    out.cell = a.cell
    out.path_len = 0
    return PICK_ONE


cdef int pick(Context ctx, Image image, uint32_t cluster, uint32_t avoid_cell, Address *out) except -1:
    """An endpoint into *out (enum Picked): one of the image, or an address of a name. `avoid_cell` is taken only when it is the
    last one left."""
    cdef const fgw_img_cluster *cl = &image.clusters[cluster]
    cdef const fgw_img_endpoint *fixed = image.endpoints + cl.endpoints.off
    cdef fgw_dns_slot slot
    cdef Candidate found[CANDIDATES]
    cdef Candidate c
    cdef uint32_t n = 0, i, at, total = cl.endpoints.count
    cdef uint32_t first = 0, avoided = 0
    cdef bint equal = True
    slot.count, slot.status = 0, FGW_DNS_OK
    if cl.discovery == FGW_DISCOVERY_DNS:
        fgw_dns_read(&ctx.state.dns[cl.dns_slot], &slot)
        total += slot.count
    if total > CANDIDATES:
        first = <uint32_t>(ctx.random() % total)
    for i in range(total):
        at = first + i
        if at >= total:
            at -= total
        c.index = at
        if at < cl.endpoints.count:
            if fixed[at].flags & FGW_ENDPOINT_UNHEALTHY:
                continue
            c.cell, c.weight = fixed[at].cell, fixed[at].weight
        else:
            at -= cl.endpoints.count
            c.cell, c.weight = slot.addresses[at].cell, slot.addresses[at].weight
        if not usable(ctx, c.cell):  # a name has no cell
            continue
        if c.cell == avoid_cell:
            avoided = c.index + 1
            continue
        if c.weight == 0:
            c.weight = 1
        found[n] = c
        equal = equal and c.weight == found[0].weight
        n += 1
        if n == CANDIDATES:
            break
    if n == 0:
        if not avoided:
            return PICK_WAIT if slot.status == FGW_DNS_UNKNOWN else PICK_NONE
        at = avoided - 1  # the only one left is the one to avoid
    else:
        at = found[choose(ctx, cl.lb, cluster, found, n, equal)].index
    if at < cl.endpoints.count:
        return take_static(image, &fixed[at], out)
    return take_resolved(&slot.addresses[at - cl.endpoints.count], out)
