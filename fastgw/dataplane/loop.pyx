"""One epoll loop a worker, one thread, GIL held.

The fd table holds the strong reference of every Watcher, and epoll's data is (generation, fd): an event for a descriptor
that was closed and opened again in the same turn is dropped and counted. An exception out of a callback is a programming
error: that watcher is closed, the error is reported, the worker lives.

This file knows nothing of sockets' contents or of HTTP.
"""
import sys
import traceback

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from fastgw.dataplane.buffers cimport live_bytes
from fastgw.native.overload cimport fgw_shedder_quick, fgw_shedder_start
from fastgw.native.state cimport FGW_C_BUGS, FGW_C_STALE_EVENTS, FGW_G_BUFFER_BYTES, FGW_G_LOOP_LAG_US, FGW_G_TIMERS_ALIVE
from fastgw.native.system cimport (
    CLOCK_MONOTONIC, CLOCK_REALTIME, EFD_CLOEXEC, EFD_NONBLOCK, EINTR, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL,
    EPOLL_CTL_MOD, EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLRDHUP, FGW_STORE_RELEASE64, clock_gettime, close, epoll_create1,
    epoll_ctl, epoll_event, epoll_wait, errno, eventfd, timespec, write,
)

cdef enum:
    MAX_EVENTS = 256
    IDLE_WAIT_MS = 250
    AGAIN_MS = 1000           # after a deadline whose callback raised
    DOOMED_ROOM = 1024        # objects that end in one turn, without more memory


cdef class Watcher:
    def __cinit__(self):
        self.fd = -1

    cdef int on_events(self, uint32_t events) except -1:
        """The descriptor is ready; events as epoll names them."""
        raise NotImplementedError

    cdef int on_bug(self) except -1:
        """A callback of this watcher raised: end, whatever the state. 1: the descriptor stays open and watched."""
        return 0


cdef class Timer:
    cdef int on_timer(self) except -1:
        """The deadline has passed (deadline_ms is 0 again)."""
        raise NotImplementedError


cdef class Turn:
    cdef int on_turn_end(self) except -1:
        raise NotImplementedError


cdef class Probe(Watcher):
    """epoll hands out what is ready first come, first served, MAX_EVENTS at a time. When there is more, the end of a turn is not
    the end of the queue; the probe stands in it like any other event."""

    def __init__(self, Loop loop):
        self.loop = loop
        self.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.fd >= 0:  # else nothing is known of full turns
            loop.add(self, EPOLLIN | EPOLLET)  # each write is one event, and need not be read

    def __dealloc__(self):
        if self.fd >= 0:
            close(self.fd)

    cdef int send(self) except -1:
        cdef uint64_t one = 1
        if self.fd >= 0 and write(self.fd, &one, sizeof(one)) == sizeof(one):
            self.sent_ns = self.loop.now_ns
            self.loop.probing = True
        return 0

    cdef int on_events(self, uint32_t events) except -1:
        cdef Loop loop = self.loop
        if loop.probing:
            loop.probing = False
            loop.update_clock()
            if fgw_shedder_quick(&loop.shedder, <uint64_t>loop.now_ns, <uint64_t>(loop.now_ns - self.sent_ns)):
                loop.sample()
        return 0


cdef class Loop:
    def __cinit__(self):
        self.epfd = epoll_create1(EPOLL_CLOEXEC)
        if self.epfd < 0:
            raise OSError(errno, "epoll_create1")
        self.events = <epoll_event *>malloc(MAX_EVENTS * sizeof(epoll_event))
        self.scratch = <char *>malloc(SCRATCH_BYTES)
        if self.events == NULL or self.scratch == NULL:
            raise MemoryError

    def __init__(self, bug_handler=None):
        cdef int _i
        cdef Timer head
        self.watchers = []
        self.slots = []
        for _i in range(WHEEL_SLOTS):
            head = Timer()
            head.prev = head.next = head
            self.slots.append(head)
        self.turn_end = []
        self.doomed = [None] * DOOMED_ROOM
        self.hooks = []
        self.bug_handler = bug_handler
        self.generation = 0
        fgw_shedder_start(&self.shedder, 0)
        self.update_clock()
        self.wheel_ms = self.now_ms // TICK_MS * TICK_MS

    def __dealloc__(self):
        if self.epfd >= 0:
            close(self.epfd)
        free(self.events)
        free(self.scratch)

    # ---- descriptors

    cdef int add(self, Watcher w, uint32_t events) except -1:
        """Poll w.fd; the loop keeps w alive until remove()."""
        cdef epoll_event ev
        while len(self.watchers) <= w.fd:
            self.watchers.append(None)
        if self.watchers[w.fd] is not None:
            raise RuntimeError("descriptor is already watched")
        self.generation += 1
        w.generation = self.generation
        ev.events = events
        ev.data.u64 = (<uint64_t>w.generation << 32) | <uint32_t>w.fd
        if epoll_ctl(self.epfd, EPOLL_CTL_ADD, w.fd, &ev) < 0:
            raise OSError(errno, "epoll_ctl add")
        self.watchers[w.fd] = w
        self.watched += 1
        return 0

    cdef int modify(self, Watcher w, uint32_t events) except -1:
        cdef epoll_event ev
        ev.events = events
        ev.data.u64 = (<uint64_t>w.generation << 32) | <uint32_t>w.fd
        if epoll_ctl(self.epfd, EPOLL_CTL_MOD, w.fd, &ev) < 0:
            raise OSError(errno, "epoll_ctl mod")
        return 0

    cdef int remove(self, Watcher w) except -1:
        """Close w.fd. The object lives until the end of the turn, since a caller up the stack may still use it."""
        cdef int fd = w.fd
        cdef epoll_event ev
        if fd < 0:
            return 0
        if w.shared:
            epoll_ctl(self.epfd, EPOLL_CTL_DEL, fd, &ev)
        if fd < len(self.watchers) and self.watchers[fd] is w:
            self.keep(w)
            self.watchers[fd] = None
            self.watched -= 1
        w.fd = -1
        close(fd)  # the kernel drops it from the epoll set, unless another process holds the socket too (shared)
        return 0

    def forget(self, Watcher w):
        """Stop polling without closing (the control socket, listeners whose socket lives on elsewhere)."""
        cdef epoll_event ev
        if w.fd >= 0 and self.watchers[w.fd] is w:
            epoll_ctl(self.epfd, EPOLL_CTL_DEL, w.fd, &ev)
            self.keep(w)
            self.watchers[w.fd] = None
            self.watched -= 1

    cdef int keep(self, ended) except -1:
        """Keep an object that has ended alive until the end of the turn. What ends must not need memory for it."""
        if self.doomed_count < len(self.doomed):
            self.doomed[self.doomed_count] = ended
        else:
            self.doomed.append(ended)
        self.doomed_count += 1
        return 0

    # ---- deadlines

    cdef int link(self, Timer t) except -1:
        cdef int64_t when = t.deadline_ms
        cdef int64_t horizon = self.wheel_ms + (WHEEL_SLOTS - 1) * TICK_MS
        cdef Timer head
        if when > horizon:
            when = horizon
        if when < self.wheel_ms + TICK_MS:
            when = self.wheel_ms + TICK_MS
        head = <Timer>self.slots[(when // TICK_MS) % WHEEL_SLOTS]
        t.linked_ms = when
        t.prev = head.prev
        t.next = head
        head.prev.next = t
        head.prev = t
        self.timers_linked += 1
        return 0

    cdef int unlink(self, Timer t) except -1:
        """Take a timer out of the wheel, for good or to file it elsewhere."""
        if t.linked_ms:
            t.prev.next = t.next
            t.next.prev = t.prev
            t.prev = t.next = None
            t.linked_ms = 0
            self.timers_linked -= 1
        return 0

    cdef int set_deadline(self, Timer t, int64_t deadline_ms) except -1:
        """0 switches it off. Cheap when the new deadline is not before the filed one."""
        t.deadline_ms = deadline_ms
        if deadline_ms == 0:
            return 0
        if t.linked_ms == 0:
            self.link(t)
        elif deadline_ms < t.linked_ms:
            self.unlink(t)
            self.link(t)
        return 0

    cdef int fire_slot(self, int64_t slot_ms) except -1:
        cdef Timer head = <Timer>self.slots[(slot_ms // TICK_MS) % WHEEL_SLOTS]
        cdef Timer t
        cdef int64_t limit = self.timers_linked
        while head.next is not head and limit > 0:
            limit -= 1
            t = head.next
            self.unlink(t)
            if t.deadline_ms == 0:
                continue
            if t.deadline_ms > self.wheel_ms:
                self.link(t)
                continue
            t.deadline_ms = 0
            try:
                t.on_timer()
            except BaseException:
                self.report_bug()
                if t.deadline_ms == 0:  # nobody else would look again
                    self.set_deadline(t, self.now_ms + AGAIN_MS)
        return 0

    cdef int run_timers(self) except -1:
        cdef int i
        if self.now_ms - self.wheel_ms > WHEEL_SLOTS * TICK_MS:  # the process slept: one round looks at every timer
            self.wheel_ms = self.now_ms // TICK_MS * TICK_MS
            for i in range(WHEEL_SLOTS - 1, -1, -1):
                self.fire_slot(self.wheel_ms - i * TICK_MS)
        while self.wheel_ms + TICK_MS <= self.now_ms:
            self.wheel_ms += TICK_MS
            if self.timers_linked:
                self.fire_slot(self.wheel_ms)
        return 0

    # ---- counting

    cdef int count(self, int counter) noexcept:
        if self.stats != NULL:
            self.stats.counters[counter] += 1
        return 0

    cdef int count_add(self, int counter, uint64_t n) noexcept:
        if self.stats != NULL:
            self.stats.counters[counter] += n
        return 0

    # ---- the loop

    cdef int update_clock(self) noexcept:
        cdef timespec ts
        clock_gettime(CLOCK_MONOTONIC, &ts)
        self.now_ns = <int64_t>ts.tv_sec * 1000000000 + ts.tv_nsec + self.skipped_ns
        self.now_ms = self.now_ns // 1000000
        return 0

    cdef int64_t wall_ahead_ns(self) noexcept:
        """What is to be added to a time of the loop's clock for the time of day; looked at once a turn."""
        cdef timespec own, wall
        if self.wall_turn != self.turns or self.wall_ahead == 0:
            self.wall_turn = self.turns
            clock_gettime(CLOCK_MONOTONIC, &own)
            clock_gettime(CLOCK_REALTIME, &wall)
            self.wall_ahead = <int64_t>(wall.tv_sec - own.tv_sec) * 1000000000 + (wall.tv_nsec - own.tv_nsec) - self.skipped_ns
        return self.wall_ahead

    cdef int at_turn_end(self, Turn t) except -1:
        if not t.scheduled:
            self.turn_end.append(t)  # takes memory: what is not in the list must not count as scheduled
            t.scheduled = True
        return 0

    cdef int report_bug(self) except -1:
        """Count and report the exception being handled."""
        self.count(FGW_C_BUGS)
        try:
            text = traceback.format_exc()
        except MemoryError:
            text = "MemoryError"  # what there is to say takes memory
        if self.bug_handler is not None:
            self.bug_handler(text)
        else:
            sys.stderr.write(text)
        return 0

    cdef Watcher watcher_of(self, uint64_t key):
        """The watcher an event is for; None when its descriptor has been closed meanwhile."""
        cdef uint32_t fd = <uint32_t>key
        cdef Watcher w
        found = self.watchers[fd] if fd < <uint32_t>len(self.watchers) else None
        if found is not None:
            w = <Watcher>found
            if w.generation == <uint32_t>(key >> 32):
                return w
        self.count(FGW_C_STALE_EVENTS)
        return None

    cdef int dispatch(self, int n, uint32_t wanted) except -1:
        """Call the watchers of the events that have one of the wanted bits. One guard for all of them: it costs per event
        otherwise, and an exception is rare."""
        cdef int i = 0
        cdef uint32_t events
        cdef Watcher w = None
        while i < n:
            try:
                while i < n:
                    events = self.events[i].events
                    i += 1
                    if events & wanted:
                        self.events[i - 1].events = 0
                        w = self.watcher_of(self.events[i - 1].data.u64)
                        if w is not None:
                            w.on_events(events)
            except BaseException:
                self.report_bug()
                self.close_after_bug(w)
        return 0

    cdef int close_after_bug(self, Watcher w) except -1:
        if w is None:
            return 0
        try:
            if w.on_bug():
                return 0
        except BaseException:
            self.report_bug()
        return self.remove(w)

    cdef int end_turn(self) except -1:
        cdef list work
        cdef int rounds = 0
        while self.turn_end and rounds < 10:  # bounded: work that breeds work may not starve I/O
            work = self.turn_end
            self.turn_end = []
            rounds += 1
            for item in work:
                (<Turn>item).scheduled = False
                try:
                    (<Turn>item).on_turn_end()
                except BaseException:
                    self.report_bug()
        for item in self.hooks:
            try:
                (<Turn>item).on_turn_end()
            except BaseException:
                self.report_bug()
        while self.doomed_count:  # a last reference may go here, and what its end takes along
            self.doomed_count -= 1
            self.doomed[self.doomed_count] = None
        return 0

    def turn(self, int timeout_ms):
        """Poll once, dispatch, fire deadlines, do the end-of-turn work. Returns the number of events."""
        cdef int n
        cdef int64_t started
        if self.turn_end:
            timeout_ms = 0
        self.turns += 1
        n = epoll_wait(self.epfd, self.events, MAX_EVENTS, timeout_ms)
        if n < 0:
            if errno != EINTR:
                raise OSError(errno, "epoll_wait")
            n = 0
        self.update_clock()
        started = self.now_ns
        # hang-ups first: an idle upstream connection that just died must not be given to a request of this turn
        self.dispatch(n, EPOLLRDHUP | EPOLLHUP | EPOLLERR)
        self.dispatch(n, <uint32_t>-1)
        self.run_timers()
        self.end_turn()
        if self.stats != NULL:
            self.update_clock()
            started = self.now_ns - started  # events have waited so long, if these were all
            FGW_STORE_RELEASE64(&self.stats.heartbeat_ns, <uint64_t>self.now_ns)
            self.stats.counters[FGW_G_LOOP_LAG_US] = <uint64_t>(started // 1000)
            self.stats.counters[FGW_G_TIMERS_ALIVE] = <uint64_t>self.timers_linked
            self.stats.counters[FGW_G_BUFFER_BYTES] = live_bytes()
            if n == MAX_EVENTS:
                self.send_probe()
            elif (not self.probing and fgw_shedder_quick(&self.shedder, <uint64_t>self.now_ns, <uint64_t>started)
                    or self.now_ms >= self.sample_at_ms):
                self.sample()
        return n

    cdef int send_probe(self) except -1:
        if self.probe is None:
            self.probe = Probe(self)
        if not self.probing:
            self.probe.send()
        return self.sample() if self.now_ms >= self.sample_at_ms else 0

    cdef int sample(self) except -1:
        self.sample_at_ms = self.now_ms + SAMPLE_MS
        if self.sampler is not None:
            try:
                self.sampler.on_turn_end()
            except BaseException:
                self.report_bug()
        return 0

    def run(self):
        """Turn until stop()."""
        while not self.stopping:
            self.turn(TICK_MS if self.timers_linked else IDLE_WAIT_MS)

    def stop(self):
        self.stopping = True

    def skip_ms(self, int64_t ms):
        """Let the loop's clock jump ahead: tests of deadlines do not wait."""
        self.skipped_ns += ms * 1000000

    @property
    def timers(self):
        return self.timers_linked


cdef class CallbackWatcher(Watcher):
    """A descriptor handled by Python code: the control socket. Not for traffic. `on_failure` is called when the callback raised."""
    cdef object callback
    cdef object on_failure

    def __init__(self, Loop loop, int fd, uint32_t events, callback, on_failure):
        self.fd = fd
        self.callback = callback
        self.on_failure = on_failure
        loop.add(self, events)

    cdef int on_bug(self) except -1:
        self.on_failure()
        return 0

    cdef int on_events(self, uint32_t events) except -1:
        self.callback(events)
        return 0


cdef class CallbackTimer(Timer):
    """A deadline handled by Python code: drains, housekeeping."""
    cdef Loop loop
    cdef object callback

    def __init__(self, Loop loop, callback):
        self.loop = loop
        self.callback = callback

    def start(self, int64_t delay_ms):
        self.loop.set_deadline(self, self.loop.now_ms + max(delay_ms, 1))

    def stop(self):
        self.loop.unlink(self)
        self.deadline_ms = 0

    cdef int on_timer(self) except -1:
        self.callback()
        return 0
