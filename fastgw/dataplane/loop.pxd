"""The event loop of a worker: descriptors, deadlines, end-of-turn work."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastgw.native.overload cimport fgw_shedder
from fastgw.native.state cimport fgw_worker_state
from fastgw.native.system cimport epoll_event

cdef enum:
    SCRATCH_BYTES = 32768      # one receive buffer for all connections of the worker
    WHEEL_SLOTS = 1024
    TICK_MS = 64               # granularity of deadlines
    SAMPLE_MS = 250            # requirement I1


cdef class Watcher:
    """Owns a descriptor that the loop polls."""
    cdef int fd                # -1 once closed
    cdef uint32_t generation   # of the fd table's entry; a stale event carries another one
    cdef bint shared           # another process holds the same open socket
    cdef int on_events(self, uint32_t events) except -1
    cdef int on_bug(self) except -1


cdef class Timer:
    """Something with a deadline. Moving the deadline later costs one store: the wheel looks again when its slot comes."""
    cdef int64_t deadline_ms   # loop clock; 0: none
    cdef int64_t linked_ms     # the deadline it is filed under; 0: not in the wheel
    cdef Timer prev
    cdef Timer next
    cdef int on_timer(self) except -1


cdef class Turn:
    """Something to do at the end of the turn, once."""
    cdef bint scheduled
    cdef int on_turn_end(self) except -1


cdef class Probe(Watcher):
    """A descriptor that is ready when we say so: how long does what becomes ready now wait for us?"""
    cdef Loop loop
    cdef int64_t sent_ns
    cdef int send(self) except -1


cdef class Loop:
    cdef int epfd
    cdef uint32_t generation
    cdef uint64_t turns        # begun so far
    cdef list watchers         # by descriptor: Watcher or None; the strong references
    cdef readonly long watched  # of them
    cdef list slots            # of the timer wheel: list heads
    cdef list turn_end         # Turn objects of this turn
    cdef list doomed           # the first doomed_count are kept alive until the end of the turn, the others are None
    cdef Py_ssize_t doomed_count
    cdef int64_t now_ms        # monotonic, of this turn
    cdef int64_t now_ns
    cdef int64_t skipped_ns    # added to the clock by tests
    cdef int64_t wall_ahead    # nanoseconds by which the wall clock was ahead of the loop's in the turn wall_turn
    cdef uint64_t wall_turn
    cdef int64_t wheel_ms      # the wheel has been looked at up to here
    cdef long timers_linked
    cdef bint stopping
    cdef epoll_event *events
    cdef char *scratch         # SCRATCH_BYTES, received bytes live here during one callback
    cdef fgw_worker_state *stats
    cdef object bug_handler    # called with the traceback text of an exception caught in dispatch
    cdef list hooks            # Turn objects run at the end of every turn
    cdef fgw_shedder shedder   # told how long events wait
    cdef Probe probe           # None until epoll_wait() has been full once
    cdef bint probing          # it is under way
    cdef Turn sampler          # called every SAMPLE_MS, and when the shedder may have changed its mind; None: nobody
    cdef int64_t sample_at_ms

    cdef int add(self, Watcher w, uint32_t events) except -1
    cdef int modify(self, Watcher w, uint32_t events) except -1
    cdef int remove(self, Watcher w) except -1
    cdef int keep(self, ended) except -1
    cdef int set_deadline(self, Timer t, int64_t deadline_ms) except -1
    cdef int unlink(self, Timer t) except -1
    cdef int at_turn_end(self, Turn t) except -1
    cdef int count(self, int counter) noexcept
    cdef int count_add(self, int counter, uint64_t n) noexcept
    cdef int update_clock(self) noexcept
    cdef int64_t wall_ahead_ns(self) noexcept
    cdef int report_bug(self) except -1
    cdef Watcher watcher_of(self, uint64_t key)
    cdef int dispatch(self, int n, uint32_t wanted) except -1
    cdef int close_after_bug(self, Watcher w) except -1
    cdef int run_timers(self) except -1
    cdef int link(self, Timer t) except -1
    cdef int fire_slot(self, int64_t slot_ms) except -1
    cdef int end_turn(self) except -1
    cdef int send_probe(self) except -1
    cdef int sample(self) except -1
