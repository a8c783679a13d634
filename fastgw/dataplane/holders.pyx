"""Who may have how many client connections (requirements D8, D9).

A listener that has all it may have is not accepted on, on any worker, until some have ended: its clients wait in the kernel's
queue, and other listeners go on. A connection of a source address that has all it may have is closed at once: whoever waits would
hold up others. Who only carries others, a proxy within --trusted-proxies, is not counted as a source; behind the PROXY protocol the
address that is told is.
"""
from libc.stdint cimport uint32_t, uint64_t

from fastgw.dataplane.admission cimport HOLD_LISTENER, Door
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.loop cimport Timer
from fastgw.dataplane.served cimport ClientSide, Held
from fastgw.native.base cimport FGW_OK, FGW_R_SOURCE_LIMIT
from fastgw.native.cidr cimport fgw_ip
from fastgw.native.holders cimport (
    fgw_holder_enter, fgw_holder_key, fgw_holder_leave, fgw_holder_seed, fgw_listener_enter, fgw_listener_leave, fgw_listener_place,
    fgw_listener_total,
)
from fastgw.native.route cimport FGW_NONE, fgw_img_listener
from fastgw.native.state cimport FGW_C_HOLDERS_UNCOUNTED, FGW_G_LISTENERS_FULL

cdef enum:
    LOOK_MS = 100              # connections end on other workers, too
    SPARE_SHARE = 16           # one in so many has to be free before a full listener is accepted on again


cdef class CountedDoor(Door):
    def take_limits(self, Context ctx, uint32_t index):
        """Those of the listener in the current image (FGW_NONE: it is in none), else those that the worker was told."""
        cdef const char *name = self.name_bytes
        cdef const fgw_img_listener *listener
        self.place = fgw_listener_place(ctx.state, name, <size_t>len(self.name_bytes))
        self.limit, self.source_limit = ctx.listener_limit, ctx.source_limit
        if index != FGW_NONE:
            listener = &ctx.image.listeners[index]
            if listener.max_connections != FGW_NONE:
                self.limit = listener.max_connections
            if listener.max_per_source != FGW_NONE:
                self.source_limit = listener.max_per_source


cdef class Holders(Timer):
    def __init__(self, Context ctx):
        self.ctx = ctx
        self.doors = []
        fgw_holder_seed(ctx.state, ctx.random())

    def use(self, list doors):
        """These, from now on."""
        self.doors = doors
        self.look()

    cdef bint enter(self, CountedDoor door) except -1:
        """May its listener have one connection more? It is counted then."""
        if fgw_listener_enter(self.ctx.state, self.ctx.stats, door.place, door.limit):
            return True
        door.hold(HOLD_LISTENER)
        self.look()
        return False

    cdef int leave(self, CountedDoor door, uint64_t key) except -1:
        """What has been counted was nothing after all."""
        fgw_listener_leave(self.ctx.state, self.ctx.stats, door.place)
        if key:
            fgw_holder_leave(self.ctx.stats, key)
        return 0

    cdef int admit(self, CountedDoor door, fgw_ip ip, uint64_t *key) noexcept:
        """May this address have one connection more? FGW_OK, and by *key it is counted (0: it is not); else the reason."""
        cdef int counted
        key[0] = 0
        if door.source_limit == 0 or (self.ctx.trusted != NULL and self.ctx.believes(ip)):
            return FGW_OK
        key[0] = fgw_holder_key(self.ctx.state, door.place, ip)
        counted = fgw_holder_enter(self.ctx.state, self.ctx.stats, key[0], door.source_limit)
        if counted > 0:
            return FGW_OK
        key[0] = 0
        if counted == 0:
            return FGW_R_SOURCE_LIMIT
        self.ctx.loop.count(FGW_C_HOLDERS_UNCOUNTED)
        return FGW_OK

    cdef int admit_told(self, ClientSide client) noexcept:
        """The same, once a proxy in front has told the address."""
        cdef CountedDoor door
        for door in self.doors:
            if door.name_bytes == client.listener_name:
                return self.admit(door, client.ip, &client.held.source)
        return FGW_OK

    cdef int forget(self, ClientSide client) except -1:
        """It has ended. Safe to call twice."""
        cdef Held held = client.held
        if held is not None:
            fgw_listener_leave(self.ctx.state, self.ctx.stats, held.listener)
            if held.source:
                fgw_holder_leave(self.ctx.stats, held.source)
            held.listener, held.source = FGW_NONE, 0
        return self.look() if self.full else 0

    cdef int look(self) except -1:
        """Go on accepting where enough connections have ended, and look again soon where not."""
        cdef CountedDoor door
        cdef uint32_t spare
        self.full = 0
        for door in self.doors:
            if door.holds & HOLD_LISTENER == 0:
                continue
            spare = 1 + door.limit // SPARE_SHARE
            if door.limit == 0 or fgw_listener_total(self.ctx.state, door.place) + spare <= door.limit:
                door.release(HOLD_LISTENER)
            else:
                self.full += 1
        self.ctx.stats.counters[FGW_G_LISTENERS_FULL] = <uint64_t>self.full
        if self.full and self.deadline_ms == 0:
            self.ctx.loop.set_deadline(self, self.ctx.loop.now_ms + LOOK_MS)
        return 0

    cdef int on_timer(self) except -1:
        return self.look()
