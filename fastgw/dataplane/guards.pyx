"""Guards: who is let in, and how much may be sent, before anything else is done with a request or a connection.

A client is who `RequestHead.remote` says, the address that upstreams are told, too.
"""
from libc.stdint cimport uint32_t

from fastgw.dataplane.attempts cimport abandon_upstream
from fastgw.dataplane.context cimport Image
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.steps cimport Guard
from fastgw.native.base cimport fgw_span
from fastgw.native.cidr cimport fgw_ip, fgw_ip_parse
from fastgw.native.guard cimport fgw_guard_denies
from fastgw.native.http1 cimport FGW_FRAMING_LENGTH
from fastgw.native.route cimport FGW_NONE, fgw_img_guard, fgw_route_request
from fastgw.native.state cimport FGW_C_BODIES_REFUSED, FGW_C_SOURCES_DENIED


cdef class RouteGuard(Guard):
    cdef bint admit(self, Exchange x, uint32_t guard, const fgw_route_request *q) except -1:
        cdef const fgw_img_guard *g = &x.image.guards[guard]
        cdef const char *why = why_denied(x.image, guard, x.head.remote, x.head.remote_len) if g.sources.count else NULL
        if why != NULL:
            x.ctx.loop.count(FGW_C_SOURCES_DENIED)
            x.reply(403, 0, why, b"RBAC: access denied", 19)
            return False
        if g.max_request_bytes:
            if x.head.req.framing == FGW_FRAMING_LENGTH and x.head.req.content_length > g.max_request_bytes:
                self.refuse_body(x)
                return False
            x.body_limit = g.max_request_bytes
        return True

    cdef int refuse_body(self, Exchange x) except -1:
        """I20."""
        x.ctx.loop.count(FGW_C_BODIES_REFUSED)
        abandon_upstream(x)
        if x.response_started:
            x.details = b"request_payload_too_large"
            x.client.abort_response()
            return x.finish()
        return x.reply(413, 0, b"request_payload_too_large", b"Payload Too Large", 17)


cdef dict known = {}               # details live as long as the process: log lines point at them


cdef const char *why_denied(Image image, uint32_t guard, const char *address, size_t n) except? NULL:
    """The details of an answer to a client that is kept out, NULL for one that is let in (I14)."""
    cdef fgw_ip ip
    cdef int named = 0
    cdef fgw_span policy
    cdef uint32_t denying = fgw_guard_denies(image.base, guard, &ip if fgw_ip_parse(address, n, &ip) else NULL, &named)
    if denying == FGW_NONE:
        return NULL
    if not named:
        return b"rbac_access_denied_matched_policy[none]"
    policy = image.source_lists[denying].policy
    return details_of(image.text(policy)[:policy.len])


cdef const char *details_of(bytes policy) except NULL:
    cdef bytes text = known.get(policy)
    if text is None:
        text = known[policy] = b"rbac_access_denied_matched_policy[" + policy + b"]"
    return text
