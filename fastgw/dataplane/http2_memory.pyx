"""Where libnghttp2's memory comes from: malloc, and pages of their own for the buffer in which a session makes its frames.

Each session has such a buffer for one frame of the largest size, 16394 bytes, for all its life, though what it puts there is a
header block of a hundred bytes. From malloc it would lie on pages that a TLS handshake has touched and given back, and cost an
idle connection 16 KiB. From here it is pages that nobody has touched before: one of them comes to life, the others when a frame
is large.
"""
from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy
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


# ---- what the library calls

cdef void *take(size_t n, void *user_data) noexcept nogil:
    global taken_bytes
    cdef void *p = take_place() if LARGE_BYTES <= n <= PLACE_BYTES else NULL
    if p != NULL:
        taken_bytes += PAGE_BYTES
        return p
    p = malloc(n)
    taken_bytes += malloc_usable_size(p)
    return p


cdef void give(void *p, void *user_data) noexcept nogil:
    global taken_bytes
    if is_place(p):
        taken_bytes -= PAGE_BYTES
        give_place(p)
    else:
        taken_bytes -= malloc_usable_size(p)
        free(p)


cdef void *take_zeroed(size_t count, size_t n, void *user_data) noexcept nogil:
    global taken_bytes
    cdef void *p = calloc(count, n)
    taken_bytes += malloc_usable_size(p)
    return p


cdef void *resize(void *p, size_t n, void *user_data) noexcept nogil:
    global taken_bytes
    cdef void *larger
    cdef size_t before
    if p == NULL:
        return take(n, user_data)
    if not is_place(p):
        before = malloc_usable_size(p)
        larger = realloc(p, n)
        if larger != NULL:
            taken_bytes += malloc_usable_size(larger) - before
        return larger
    if n <= PLACE_BYTES:
        return p
    larger = malloc(n)
    if larger != NULL:
        taken_bytes += malloc_usable_size(larger) - PAGE_BYTES
        memcpy(larger, p, PLACE_BYTES)
        give_place(p)
    return larger


cdef nghttp2_mem functions
functions.mem_user_data = NULL
functions.malloc = take
functions.free = give
functions.calloc = take_zeroed
functions.realloc = resize


cdef nghttp2_mem *session_memory() noexcept:
    """For new sessions of this process."""
    return &functions


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
