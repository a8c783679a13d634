"""Whether connections are accepted: one place for every reason not to.

Reasons are bits, of the worker and of a listener. A listening socket is polled while no bit is set on either, so that whoever
sets one takes it away again without knowing of the others. What is not accepted waits in the kernel's queue.
"""
import os
import resource

from libc.stdint cimport int64_t, uint32_t

from fastgw.dataplane.loop cimport Loop, Timer, Watcher
from fastgw.dataplane.pipes cimport pipes_made
from fastgw.native.state cimport FGW_C_ACCEPT_PAUSED, FGW_G_ACCEPT_HELD, FGW_G_DESCRIPTORS
from fastgw.native.system cimport EPOLLIN

cdef enum:
    SHUT_PERCENT = 90          # requirement I2
    OPEN_PERCENT = 85
    LOOK_MS = 100              # upstream connections give descriptors back, too


cdef class Door(Watcher):
    cdef int hold(self, uint32_t reason) except -1:
        """Do not accept here any more."""
        if self.holds == 0 and self.admission.holds == 0:
            self.admission.loop.count(FGW_C_ACCEPT_PAUSED)
        self.holds |= reason
        return self.open_or_shut()

    cdef int release(self, uint32_t reason) except -1:
        """This is no reason any more."""
        if self.holds & reason:
            self.holds &= ~reason
            self.open_or_shut()
        return 0

    cdef int open_or_shut(self) except -1:
        return self.admission.loop.modify(self, 0 if self.holds | self.admission.holds else EPOLLIN) if self.fd >= 0 else 0


cdef class Admission(Timer):
    def __init__(self, Loop loop):
        self.loop = loop
        self.doors = []
        self.count_descriptors()

    def count_descriptors(self):
        """The limit, and what is open beside sockets and pipes: both stay as they are."""
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.descriptors_shut = self.descriptors_open = 0
        if soft != resource.RLIM_INFINITY:
            self.descriptors_shut = max(1, soft * SHUT_PERCENT // 100)
            self.descriptors_open = max(1, soft * OPEN_PERCENT // 100)
        self.others = len(os.listdir("/proc/self/fd")) - 1 - self.loop.watched - 2 * pipes_made()

    def use(self, list doors):
        """These, from now on."""
        cdef Door door
        self.doors = doors
        for door in doors:
            door.open_or_shut()

    cdef int hold(self, uint32_t reason) except -1:
        cdef Door door
        cdef uint32_t before = self.holds
        if before & reason == reason:
            return 0
        self.holds |= reason
        self.show()
        if before == 0:
            self.loop.count(FGW_C_ACCEPT_PAUSED)
            for door in self.doors:
                door.open_or_shut()
        return 0

    cdef int release(self, uint32_t reason) except -1:
        cdef Door door
        if self.holds & reason == 0:
            return 0
        self.holds &= ~reason
        self.show()
        if self.holds == 0:
            for door in self.doors:
                door.open_or_shut()
        return 0

    def show(self):
        if self.loop.stats != NULL:
            self.loop.stats.counters[FGW_G_ACCEPT_HELD] = self.holds

    cdef int pause(self, int64_t delay_ms) except -1:
        """Go on by itself after this time."""
        self.hold(HOLD_PAUSE)
        return self.loop.set_deadline(self, self.loop.now_ms + delay_ms)

    cdef int on_timer(self) except -1:
        self.look_at_descriptors()
        return self.release(HOLD_PAUSE)

    cdef long descriptors(self) noexcept:
        """In use by the process."""
        return self.others + self.loop.watched + 2 * pipes_made()

    cdef int look_at_descriptors(self) except -1:
        """Are there enough for another client? Called when one has come or gone."""
        cdef long used = self.descriptors()
        if self.loop.stats != NULL:
            self.loop.stats.counters[FGW_G_DESCRIPTORS] = <unsigned long>used
        if self.descriptors_shut == 0:
            return 0
        if used >= self.descriptors_shut:
            self.hold(HOLD_DESCRIPTORS)
        elif used < self.descriptors_open:
            self.release(HOLD_DESCRIPTORS)
        if self.holds & HOLD_DESCRIPTORS and self.deadline_ms == 0:
            self.loop.set_deadline(self, self.loop.now_ms + LOOK_MS)
        return 0
