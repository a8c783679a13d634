"""Where libnghttp2's memory comes from: malloc, and pages of their own for the buffer in which a session makes its frames.

Each session has such a buffer for one frame of the largest size, 16394 bytes, for all its life, though what it puts there is a
header block of a hundred bytes. From malloc it would lie on pages that a TLS handshake has touched and given back, and cost an
idle connection 16 KiB. From here it is pages that nobody has touched before: one of them comes to life, the others when a frame
is large.

The library is never told that there is no memory: some of its ways to deal with that end in freed memory (1.52: a DATA frame that
cannot be queued). When malloc has none, a reserve gives it, and the session is told: it is to be ended before the turn is over, and
no new one is begun meanwhile.
"""
from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset
from posix.mman cimport (
    MAP_ANONYMOUS, MAP_FAILED, MAP_NORESERVE, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE, mmap, mprotect,
)
from posix.unistd cimport _SC_PAGESIZE, sysconf

from fastgw.native.nghttp2 cimport nghttp2_mem

cdef extern from "<sys/mman.h>" nogil:
    int MADV_DONTNEED
    int MADV_NOHUGEPAGE
    int madvise(void *address, size_t length, int advice)

cdef extern from "<malloc.h>" nogil:
    size_t malloc_usable_size(void *p)

cdef enum:
    PAGE_BYTES = 4096          # with larger pages there is nothing to be won
    LARGE_BYTES = 16384        # from here on it is the frame buffer
    PLACE_BYTES = 20480        # of one: five pages
    PLACES = 65536             # address space only; those after them come from malloc
    OPENED_AT_ONCE = 64

cdef uint8_t *region = NULL    # PLACES of PLACE_BYTES, reserved at first use
cdef size_t places_open = 0    # of them can be used
cdef size_t places_used = 0    # have been given out at least once
cdef void *vacant = NULL       # a list through the first word of those that were given back
cdef bint unavailable = False
cdef size_t taken_bytes = 0    # of malloc, and the pages of places that have surely come to life

cdef uint8_t[262144] reserve_area  # not a page of it is touched before it is needed
cdef size_t reserve_used = 0
cdef size_t reserve_pieces = 0     # that were given out and not back: at 0 all of it is free again
cdef bint (*denied)(size_t n) noexcept nogil
denied = NULL                      # for tests: whether malloc has none for so many bytes


cdef bint is_place(const void *p) noexcept nogil:
    return region != NULL and region <= <const uint8_t *>p < region + <size_t>PLACES * PLACE_BYTES


cdef bint reserve() noexcept nogil:
    """Address space for all; False when this machine has it not, or has pages of another size."""
    global region, unavailable
    cdef void *got
    if region == NULL and not unavailable:
        got = MAP_FAILED
        if sysconf(_SC_PAGESIZE) == PAGE_BYTES:
            got = mmap(NULL, <size_t>PLACES * PLACE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        unavailable = got == MAP_FAILED
        if not unavailable:
            region = <uint8_t *>got
            madvise(region, <size_t>PLACES * PLACE_BYTES, MADV_NOHUGEPAGE)
    return region != NULL


cdef void *take_place() noexcept nogil:
    """NULL: there is none."""
    global vacant, places_open, places_used
    cdef void *found = vacant
    if found != NULL:
        vacant = (<void **>found)[0]
        return found
    if not reserve() or places_used == PLACES:
        return NULL
    if places_used == places_open:
        if mprotect(region + places_open * PLACE_BYTES, OPENED_AT_ONCE * PLACE_BYTES, PROT_READ | PROT_WRITE) != 0:
            return NULL
        places_open += OPENED_AT_ONCE
    places_used += 1
    return region + (places_used - 1) * PLACE_BYTES


cdef void give_place(void *p) noexcept nogil:
    global vacant
    madvise(<uint8_t *>p + PAGE_BYTES, PLACE_BYTES - PAGE_BYTES, MADV_DONTNEED)
    (<void **>p)[0] = vacant
    vacant = p


# ---- the reserve

cdef bint is_reserve(const void *p) noexcept nogil:
    return <const uint8_t *>reserve_area <= <const uint8_t *>p < <const uint8_t *>reserve_area + sizeof(reserve_area)


cdef void *take_reserve(size_t n, void *user_data) noexcept nogil:
    """n bytes behind a word with their number, and the session learns of it. NULL: even that is used up."""
    global reserve_used, reserve_pieces
    cdef size_t whole = (n + 31) & ~<size_t>15
    cdef uint8_t *p = <uint8_t *>reserve_area + reserve_used
    if user_data != NULL:
        (<bint *>user_data)[0] = True
    if n > sizeof(reserve_area) or whole > sizeof(reserve_area) - reserve_used:
        return NULL
    reserve_used += whole
    reserve_pieces += 1
    (<size_t *>p)[0] = n
    return p + 16


cdef void give_reserve() noexcept nogil:
    global reserve_used, reserve_pieces
    reserve_pieces -= 1
    if reserve_pieces == 0:
        reserve_used = 0


cdef size_t size_of(void *p) noexcept nogil:
    """At least so many bytes lie at p."""
    if is_reserve(p):
        return (<size_t *>(<uint8_t *>p - 16))[0]
    return <size_t>PLACE_BYTES if is_place(p) else malloc_usable_size(p)


# ---- what the library calls

cdef void *take(size_t n, void *user_data) noexcept nogil:
    global taken_bytes
    cdef void *p = take_place() if LARGE_BYTES <= n <= PLACE_BYTES else NULL
    if p != NULL:
        taken_bytes += PAGE_BYTES
        return p
    p = malloc(n) if denied == NULL or not denied(n) else NULL
    if p == NULL:
        return take_reserve(n, user_data)
    taken_bytes += malloc_usable_size(p)
    return p


cdef void give(void *p, void *user_data) noexcept nogil:
    global taken_bytes
    if p == NULL:
        return
    if is_place(p):
        taken_bytes -= PAGE_BYTES
        give_place(p)
    elif is_reserve(p):
        give_reserve()
    else:
        taken_bytes -= malloc_usable_size(p)
        free(p)


cdef void *take_zeroed(size_t count, size_t n, void *user_data) noexcept nogil:
    global taken_bytes
    cdef void *p = calloc(count, n) if denied == NULL or not denied(count * n) else NULL
    if p == NULL:
        p = take_reserve(count * n, user_data)
        return memset(p, 0, count * n) if p != NULL else NULL
    taken_bytes += malloc_usable_size(p)
    return p


cdef void *resize(void *p, size_t n, void *user_data) noexcept nogil:
    global taken_bytes
    cdef void *larger
    cdef size_t before
    if p == NULL:
        return take(n, user_data)
    before = size_of(p)
    if is_place(p) and n <= before:
        return p
    if not is_place(p) and not is_reserve(p):
        larger = realloc(p, n) if denied == NULL or not denied(n) else NULL
        if larger != NULL:
            taken_bytes += malloc_usable_size(larger) - before
            return larger
    larger = take(n, user_data)
    if larger != NULL:
        memcpy(larger, p, min(before, n))
        give(p, user_data)
    return larger


cdef nghttp2_mem functions
functions.mem_user_data = NULL
functions.malloc = take
functions.free = give
functions.calloc = take_zeroed
functions.realloc = resize


cdef nghttp2_mem *session_memory(bint *starved) noexcept:
    """For the next session, which copies it; NULL while others live on the reserve. *starved is set when this one does, and must
    live as long as the session does. A NULL for it: nobody is told."""
    functions.mem_user_data = <void *>starved
    return &functions if reserve_pieces == 0 or starved == NULL else NULL


cdef size_t session_bytes() noexcept:
    """What all sessions of the process hold now."""
    return taken_bytes


def live_session_bytes():
    """For leak checks: the same."""
    return taken_bytes


def frame_buffers():
    """For tests: (places in use, places that were given out at least once)."""
    cdef size_t resting = 0
    cdef void *p = vacant
    while p != NULL:
        resting += 1
        p = (<void **>p)[0]
    return places_used - resting, places_used


def address():
    """For tests: where the functions are."""
    return <size_t>&functions


def deny(size_t function):
    """For tests: the address of a function of a number of bytes, that says whether malloc has none; 0: malloc itself says."""
    global denied
    denied = <bint (*)(size_t) noexcept nogil>function


def reserve_in_use():
    """For tests: pieces of it."""
    return reserve_pieces
