"""A connection that is relayed as bytes."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.pipes cimport Pipe
from fastgw.dataplane.served cimport ClientSide, ConnectionOwner, Observer, Served
from fastgw.dataplane.transport cimport Protocol, Transport
from fastgw.native.route cimport fgw_img_action, fgw_img_chain
from fastgw.native.state cimport fgw_tcp_series

cdef enum TunnelState:
    T_WAITING = 0       # for the addresses of a name
    T_CONNECTING = 1
    T_OPEN = 2
    T_DONE = 3


cdef class Flow:
    """One direction of a tunnel."""
    # borrowed
    cdef Tunnel tunnel
    cdef Transport source
    cdef Transport sink
    # owned
    cdef Pipe pipe                 # while bytes are on their way through it, else None
    # state
    cdef uint64_t relayed          # bytes
    cdef bint splices              # both sides are plain sockets
    cdef int small                 # little pieces in a row that went through a pipe
    cdef bint eof                  # of the source; the sink's FIN follows what is queued
    cdef int tie(self, Tunnel tunnel, Transport source, Transport sink) except -1
    cdef int untie(self) except -1
    cdef int on_data(self, const char *p, size_t n) except -1
    cdef Pipe pipe_for_input(self)
    cdef int on_piped(self, size_t n) except -1
    cdef int give_back(self) except -1
    cdef int on_eof(self) except -1
    cdef int on_sink_writable(self) except -1
    cdef bint finished(self) noexcept


cdef class TunnelClient(ClientSide):
    cdef Tunnel tunnel             # borrowed
    cdef Transport transport


cdef class TunnelUpstream(Protocol):
    cdef Tunnel tunnel             # borrowed
    cdef Transport transport


cdef class Tunnel(Served):
    # owned
    cdef TunnelClient client
    cdef TunnelUpstream upstream   # None before the first attempt to connect
    cdef Flow up                   # from the client
    cdef Flow down                 # to the client
    cdef Buffer first              # read before there was somebody to send it to
    # borrowed
    cdef Observer observer
    cdef ConnectionOwner owner
    # the decision; nothing else is needed of the image once it is open
    cdef bytes cluster_text
    cdef bytes virtual_service
    cdef uint32_t metric_id
    cdef int64_t idle_timeout_ms
    cdef int64_t expires_ms        # maxConnectionDuration, 0: none
    cdef uint32_t limit_cell       # what its upstream connection is counted in, FGW_NONE
    # state
    cdef int state                 # enum TunnelState
    cdef int64_t active_ms         # loop clock of the last byte
    cdef int64_t report_ms         # when the bytes that are not in the metrics yet are to be put there, 0: there are none
    cdef uint64_t reported_up
    cdef uint64_t reported_down
    cdef const char *termination   # %CONNECTION_TERMINATION_DETAILS%

    cdef int do_what_is_due(self) except -1
    cdef int start(self, ClientSide accepted, Transport transport, uint32_t chain, const char *p, size_t n) except -1
    cdef int log_unserved(self, ClientSide accepted, Transport transport) except -1
    cdef int decide(self, const fgw_img_chain *chain) except -1
    cdef uint32_t draw_destination(self, uint32_t action, const fgw_img_action *a) noexcept
    cdef int try_upstream(self) except -1
    cdef bint connect(self) except -1
    cdef int connect_failed(self, int counter) except -1
    cdef int open(self) except -1
    cdef int touch(self) except -1
    cdef int on_half_closed(self) except -1
    cdef int arm(self) except -1
    cdef bint check_end(self) except -1
    cdef int on_client_closed(self) except -1
    cdef int on_upstream_closed(self, int reason) except -1
    cdef int fail(self, uint32_t flags, const char *details) except -1
    cdef int finish(self, bint reset) except -1
    cdef int drop_upstream(self, bint reset) except -1
    cdef fgw_tcp_series *series(self) noexcept
    cdef int report(self) except -1
