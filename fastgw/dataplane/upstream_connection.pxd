"""What connections to upstreams have in common, whatever is spoken on them."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.served cimport Address
from fastgw.dataplane.transport cimport Protocol, Transport
from fastgw.dataplane.upstream_tls cimport PeerName


cdef struct Terms:                # of one connection, as the cluster's policy was when it was made
    uint32_t limit_cell           # what the connection is counted in, FGW_NONE
    uint32_t limit                # maxConnections there
    uint32_t max_requests         # on this connection, 0: any number
    int64_t idle_timeout_ms       # without requests, 0: none
    int64_t expires_ms            # takes no new requests after that, 0: never


cdef inline bint has_had_all(const Terms *terms, uint64_t requests) noexcept:
    """As many requests as it may (Q12)."""
    return terms.max_requests != 0 and requests >= terms.max_requests


cdef inline int64_t idle_limit_ms(Context ctx, const Terms *terms) noexcept:
    """How long it may be idle, 0: as long as it likes."""
    cdef int64_t most = ctx.upstream_idle_most_ms
    return most if most and (terms.idle_timeout_ms == 0 or most < terms.idle_timeout_ms) else terms.idle_timeout_ms


cdef Transport start_connection(Exchange x, Protocol protocol, const Address *to, PeerName *peer, Terms *terms)
cdef int end_connection(Context ctx, Terms *terms) except -1
cdef int count_idle_end(Context ctx, const Terms *terms) except -1
