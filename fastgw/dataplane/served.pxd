"""What exchanges and tunnels have in common: a client's side, a decision, an endpoint, and what is counted and logged."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastgw.dataplane.context cimport Context, Image
from fastgw.dataplane.loop cimport Timer
from fastgw.dataplane.tls_facts cimport TlsFacts
from fastgw.dataplane.transport cimport Protocol, Transport
from fastgw.native.base cimport fgw_span
from fastgw.native.cidr cimport fgw_ip
from fastgw.native.route cimport fgw_img_action, fgw_route_result


cdef struct Address:
    uint8_t family            # enum fgw_family
    uint8_t level             # of priority in the cluster
    uint16_t port
    uint8_t ip[16]
    uint32_t cell             # in the state segment
    uint32_t path_len
    char path[108]            # unix sockets


cdef class Held:
    """What a connection is counted as, whoever serves it; taken off once (holders.pyx)."""
    cdef uint32_t listener         # its place in the state segment, FGW_NONE
    cdef uint64_t source           # the key of its source address, 0: that is not counted


cdef class ClientSide(Protocol):
    """A client's connection, or one stream of it, as everything but its codec sees it."""
    cdef Context ctx
    cdef bytes listener_name
    cdef bytes chain_name          # of the chain it was accepted under; NULL (None) before one was chosen
    cdef uint32_t listener         # index in the current image, FGW_NONE when it is gone
    cdef uint32_t chain            # the same
    cdef uint32_t route_table      # of that chain, FGW_NONE without one
    cdef uint64_t identity         # of the chain when it was chosen (fgw_img_chain.identity), 0 without TLS
    cdef bint secure               # the connection is TLS, terminated here
    cdef bytes server_name         # of the TLS hello; None without one
    cdef TlsFacts tls              # of that TLS, None without
    cdef char peer[64]             # text of the client's address
    cdef uint32_t peer_len
    cdef uint32_t peer_port
    cdef bint has_port
    cdef fgw_ip ip                 # the same address
    cdef fgw_ip direct_ip          # of the connection's other end, whatever a proxy there has told
    cdef uint32_t direct_port      # 0 without one
    cdef char local[64]            # text of our address as the client knows it, once a proxy in front or the kernel has told it
    cdef int local_len
    cdef Held held                 # None: it is counted nowhere
    cdef int take_place(self, ClientSide other) except -1
    cdef int choose_chain(self, uint32_t chain) except -1
    cdef int locate(self, uint32_t listener) except -1
    cdef int socket_address(self, char *out) noexcept
    cdef int local_address(self, char *out) noexcept
    cdef int hurry(self) except -1
    cdef size_t held_bytes(self) noexcept
    cdef int drop_largest(self) except -1


cdef class Observer:
    """Told of everything that was served (the access log)."""
    cdef bint wants_local          # Served.upstream_local is to be filled
    cdef int on_finished(self, Served s) except -1


cdef class ConnectionOwner:
    """Who accepted a client connection; told once when it ends."""
    cdef int on_client_closed(self, ClientSide client) except -1
    cdef int on_told(self, ClientSide client) except -1
    cdef int serve(self, ClientSide accepted, Transport transport, uint32_t chain, const char *p, size_t n) except -1
    cdef int serve_http2(self, ClientSide accepted, Transport transport, const char *p, size_t n) except -1
    cdef int note_unserved(self, ClientSide accepted, Transport transport) except -1


cdef class Served(Timer):
    # borrowed
    cdef Context ctx
    cdef Image image               # the one it began with
    # the decision
    cdef fgw_route_result route
    cdef uint32_t cluster          # index in the image, FGW_NONE
    cdef fgw_span cluster_name
    cdef uint64_t hash_key         # of consistentHash, when has_key
    cdef bint has_key
    cdef Address address
    cdef bint charged              # the endpoint's cell counts this
    cdef int attempts
    cdef bint waiting              # for DNS
    # limits of the cluster, see limits.pyx
    cdef uint32_t limits_of        # its place in the state segment
    cdef uint32_t counted          # what is counted there for this
    cdef int held                  # enum Held: why there was no upstream
    cdef bint called               # from the line of those who wait
    cdef uint64_t ticket           # of its place in the line, 0 without
    cdef int64_t wait_until_ms
    cdef int64_t deadline_dns_ms
    # what is recorded
    cdef int64_t start_ns
    cdef int64_t start_wall_ns
    cdef int64_t end_ns
    cdef uint64_t bytes_received   # from the client, without heads
    cdef uint64_t bytes_sent
    cdef uint32_t flags            # enum fgw_flag
    cdef int reject_reason         # enum fgw_reason
    cdef const char *details
    cdef bytes transport_failure   # why TLS with the upstream failed, None
    cdef char upstream_local[64]
    cdef int upstream_local_len

    cdef ClientSide client_side(self)
    cdef int start_record(self, bint wall_clock) except -1
    cdef uint32_t draw(self, const fgw_img_action *a) noexcept
    cdef int charge(self) except -1
    cdef int uncharge(self, bint failed) except -1
    cdef bint await_name(self) except -1
    cdef int proceed(self) except -1
    cdef int overflowed(self) except -1


cdef int64_t clock_ns(int clock) noexcept
