"""What a client is known by: the key that keeps it at one of several destinations (H5), and the key of consistent hashing that
keeps it at an endpoint (Q5). Either may be a cookie that the gateway gives.
"""
from libc.stdint cimport uint32_t, uint64_t

from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.native.balance cimport FGW_HASH_COOKIE_MAX, fgw_hash_key, fgw_hash_new_cookie
from fastgw.native.base cimport FGW_HDR_SET_COOKIE
from fastgw.native.route cimport (
    FGW_POLICY_GIVES_COOKIE, FGW_STICKY_COOKIE, FGW_STICKY_NONE, fgw_hash64, fgw_img_action, fgw_img_policy, fgw_route_request,
    fgw_sticky_key, fgw_sticky_pick, fgw_sticky_set_cookie,
)


cdef uint32_t draw_destination(Exchange x, const fgw_img_action *a, const fgw_route_request *q) noexcept:
    """One of several destinations of the action: the one that this client keeps, else at random by weight (H5)."""
    if a.sticky != FGW_STICKY_NONE and keep_destination(x, a, q):
        return fgw_sticky_pick(x.image.base, x.route.action, x.sticky_key)
    return x.draw(a)


cdef bint keep_destination(Exchange x, const fgw_img_action *a, const fgw_route_request *q) noexcept:
    """Set sticky_key. A client without a usable cookie gets one; False: there is nothing to know the client by."""
    if fgw_sticky_key(x.image.base, x.route.action, q, x.head.remote, x.head.remote_len, &x.sticky_key):
        return True
    if a.sticky != FGW_STICKY_COOKIE:
        return False
    x.sticky_key = x.ctx.random()
    x.gives_cookie = True
    return True


cdef size_t write_sticky_cookie(Exchange x, char *to) noexcept:
    """The value of Set-Cookie (at most FGW_SET_COOKIE_MAX bytes) when gives_cookie is set; its length."""
    return fgw_sticky_set_cookie(x.image.base, x.route.action, x.sticky_key, to)


cdef int find_hash_key(Exchange x, const fgw_img_policy *policy, const fgw_route_request *q) except -1:
    """Set hash_key where the request has one, or where a cookie is given that makes one (Q5)."""
    cdef char local[64]
    cdef char text[FGW_HASH_COOKIE_MAX]
    cdef uint64_t port = x.client.peer_port
    x.has_key = fgw_hash_key(x.image.base, policy, q, x.head.remote, x.head.remote_len, &x.hash_key)
    if x.has_key or not policy.flags & FGW_POLICY_GIVES_COOKIE:
        return 0
    x.hash_seed = fgw_hash64(x.client.peer, x.client.peer_len, port)
    x.hash_seed = fgw_hash64(local, <size_t>x.client.local_address(local), x.hash_seed)
    fgw_hash_new_cookie(x.image.base, policy, x.hash_seed, text, &x.hash_key)
    x.has_key = x.gives_hash_cookie = True
    return 0


cdef int add_hash_cookie(Exchange x, FieldTable fields) except -1:
    """Among the fields of the answer, so that no codec has to know of it."""
    cdef char text[FGW_HASH_COOKIE_MAX]
    cdef uint64_t key
    cdef size_t n = fgw_hash_new_cookie(x.image.base, x.image.policy_of(x.cluster), x.hash_seed, text, &key)
    return fields.add_field(FGW_HDR_SET_COOKIE, b"set-cookie", 10, text, n)
