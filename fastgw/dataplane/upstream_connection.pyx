"""The begin and the end of a connection to an upstream: socket, counts, and the terms that its cluster sets (Q12)."""
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.dial cimport keep_alive, notice_death, open_socket
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.limits cimport release_connection
from fastgw.dataplane.proxy_header cimport proxy_header_for
from fastgw.dataplane.served cimport Address
from fastgw.dataplane.transport cimport Protocol, Transport
from fastgw.dataplane.upstream_tls cimport PeerName, make_transport
from fastgw.native.route cimport FGW_FAMILY_UNIX, FGW_NONE, FGW_POLICY_KEEPALIVE, fgw_img_policy
from fastgw.native.system cimport close
from fastgw.native.state cimport (
    FGW_C_SHED_UPSTREAM_IDLE, FGW_C_UPSTREAM_BYTES_IN, FGW_C_UPSTREAM_BYTES_OUT, FGW_C_UPSTREAM_CLOSED, FGW_C_UPSTREAM_CONNECTS,
    FGW_G_UPSTREAM_ACTIVE,
)

cdef long connections = 0


def upstream_connections_alive():
    """For leak checks: upstream connections that are not closed, idle ones included."""
    return connections


cdef Transport start_connection(Exchange x, Protocol protocol, const Address *to, PeerName *peer, Terms *terms):
    """Begin a connection to this address and name on behalf of x, and set the terms (but limit_cell). on_connected() or on_closed()
    of the protocol follows, in another turn. None: not even a socket could be had."""
    global connections
    cdef Context ctx = x.ctx
    cdef Transport transport = make_transport(x, peer)
    cdef int fd = open_socket(to, True) if transport is not None else -1
    if fd < 0:
        return None
    connections += 1
    ctx.gauge(FGW_G_UPSTREAM_ACTIVE, 1)
    ctx.loop.count(FGW_C_UPSTREAM_CONNECTS)
    transport.counter_in = FGW_C_UPSTREAM_BYTES_IN
    transport.counter_out = FGW_C_UPSTREAM_BYTES_OUT
    transport.reads_rest = True
    try:
        transport.preface = proxy_header_for(x)
        if to.family != FGW_FAMILY_UNIX:
            notice_death(fd, x.image.clusters[x.cluster].connect_timeout_ms)
        obey(ctx, x.image.policy_of(x.cluster), fd, terms)
        transport.open(ctx.loop, fd, protocol, True)
    except BaseException:
        if transport.loop is None:  # the descriptor is nobody's yet
            close(fd)
        transport.close()
        connections -= 1
        ctx.gauge(FGW_G_UPSTREAM_ACTIVE, -1)
        ctx.loop.count(FGW_C_UPSTREAM_CLOSED)
        raise
    return transport


cdef int obey(Context ctx, const fgw_img_policy *policy, int fd, Terms *terms) except -1:
    terms.idle_timeout_ms = ctx.upstream_idle_timeout_ms
    if policy == NULL:
        return 0
    if policy.idle_timeout_ms != FGW_NONE:
        terms.idle_timeout_ms = policy.idle_timeout_ms
    if policy.max_requests_per_connection != FGW_NONE:
        terms.max_requests = policy.max_requests_per_connection
    if policy.max_connection_ms:
        terms.expires_ms = ctx.loop.now_ms + policy.max_connection_ms
    if policy.flags & FGW_POLICY_KEEPALIVE:
        keep_alive(fd, policy)
    terms.limit = policy.max_connections
    return 0


cdef int count_idle_end(Context ctx, const Terms *terms) except -1:
    """One without requests is about to be closed for that: was it for want of memory?"""
    if ctx.parting or idle_limit_ms(ctx, terms) != terms.idle_timeout_ms:
        ctx.loop.count(FGW_C_SHED_UPSTREAM_IDLE)
    return 0


cdef int end_connection(Context ctx, Terms *terms) except -1:
    """Its transport is closed: count that, and let others have its place."""
    global connections
    connections -= 1
    ctx.gauge(FGW_G_UPSTREAM_ACTIVE, -1)
    ctx.loop.count(FGW_C_UPSTREAM_CLOSED)
    release_connection(ctx, terms.limit_cell)
    terms.limit_cell = FGW_NONE
    return 0
