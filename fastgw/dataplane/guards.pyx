"""Guards: who is let in, how often, and how much may be sent, before anything else is done with a request or a connection.

A client is who `RequestHead.remote` says, the address that upstreams are told, too.
"""
from libc.stdint cimport uint32_t, uint64_t

from fastgw.dataplane.attempts cimport abandon_upstream
from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.context cimport Image
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.headers cimport write_decimal
from fastgw.dataplane.steps cimport Guard
from fastgw.native.base cimport FGW_HDR_OTHER, FGW_HDR_X_ENVOY, fgw_span
from fastgw.native.cidr cimport fgw_ip, fgw_ip_parse
from fastgw.native.guard cimport fgw_guard_denies
from fastgw.native.http1 cimport FGW_FRAMING_LENGTH
from fastgw.native.rate cimport (
    FGW_RATE_REFUSED, fgw_rate, fgw_rate_answer, fgw_rate_count, fgw_rate_give_back, fgw_rate_key, fgw_rate_take,
)
from fastgw.native.route cimport FGW_NONE, FGW_RATE_LIMITS_MAX, fgw_img_guard, fgw_img_rate_limit, fgw_route_request
from fastgw.native.state cimport FGW_C_BODIES_REFUSED, FGW_C_SOURCES_DENIED, FGW_F_RL


cdef class RouteGuard(Guard):
    cdef bint admit(self, Exchange x, uint32_t guard, const fgw_route_request *q) except -1:
        cdef const fgw_img_guard *g = &x.image.guards[guard]
        cdef const char *why
        cdef fgw_ip ip
        cdef const fgw_ip *client = NULL  # unless somebody asks, or nobody can tell
        if (g.sources.count or g.rate_limits.count) and fgw_ip_parse(x.head.remote, x.head.remote_len, &ip):
            client = &ip
        why = why_denied(x.image, guard, client) if g.sources.count else NULL
        if why != NULL:
            x.ctx.loop.count(FGW_C_SOURCES_DENIED)
            x.reply(403, 0, why, b"RBAC: access denied", 19)
            return False
        if g.rate_limits.count and not take_requests(x, g, q, client):
            x.reply(429, FGW_F_RL, b"local_rate_limited", b"local_rate_limited", 18)
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

    cdef int edit_answer(self, Exchange x, FieldTable fields) except -1:
        cdef const fgw_img_guard *g = &x.image.guards[x.guard()]
        cdef char text[24]
        if x.flags & FGW_F_RL:
            fields.add_field(FGW_HDR_OTHER, b"retry-after", 11, text, write_decimal(text, x.retry_after_s))
            fields.add_field(FGW_HDR_X_ENVOY, b"x-envoy-ratelimited", 19, b"true", 4)
        fields.add_field(FGW_HDR_OTHER, b"ratelimit-policy", 16, x.image.text(g.rate_policies), g.rate_policies.len)
        return fields.add_field(FGW_HDR_OTHER, b"ratelimit", 9, x.limits_told.head(), x.limits_told.size())


cdef bint take_requests(Exchange x, const fgw_img_guard *g, const fgw_route_request *q, const fgw_ip *client) except -1:
    """One from the bucket of each limit, or, where one of them is empty, none from any."""
    cdef const fgw_img_rate_limit *limits = x.image.rate_limits + g.rate_limits.off
    cdef uint64_t keys[FGW_RATE_LIMITS_MAX]
    cdef fgw_rate rate
    cdef fgw_rate_answer answer
    cdef uint32_t i, taken
    if x.limits_told is None:
        x.limits_told = Buffer()
    x.limits_told.release()
    x.gives_limits = True
    for taken in range(g.rate_limits.count):
        rate.interval_ns, rate.burst = limits[taken].interval_ns, limits[taken].burst
        keys[taken] = fgw_rate_key(x.image.base, x.ctx.state, g.rate_limits.off + taken, q, client)
        if fgw_rate_take(x.ctx.state, keys[taken], &rate, <uint64_t>x.ctx.loop.now_ns, &answer) == FGW_RATE_REFUSED:
            break
        tell(x, &limits[taken], &answer)
    else:
        for i in range(g.rate_limits.count):
            fgw_rate_count(x.ctx.state, limits[i].number, 1)
        return True
    fgw_rate_count(x.ctx.state, limits[taken].number, 0)
    for i in range(taken):
        rate.interval_ns, rate.burst = limits[i].interval_ns, limits[i].burst
        fgw_rate_give_back(x.ctx.state, keys[i], &rate)
    x.limits_told.release()  # what the others would have left is not known any more
    tell(x, &limits[taken], &answer)
    x.retry_after_s = seconds(answer.retry_ns)
    return False


cdef int tell(Exchange x, const fgw_img_rate_limit *limit, const fgw_rate_answer *answer) except -1:
    """An item of the field RateLimit: what is left, and after how many seconds all of it, or the next request, is there again."""
    cdef Buffer out = x.limits_told
    cdef char text[24]
    if out.size():
        out.append(b", ", 2)
    out.append(b'"', 1)
    out.append(x.image.text(limit.name), limit.name.len)
    out.append(b'";r=', 4)
    out.append(text, write_decimal(text, answer.remaining))
    out.append(b";t=", 3)
    return out.append(text, write_decimal(text, seconds(answer.retry_ns if answer.retry_ns else answer.full_ns)))


cdef uint64_t seconds(uint64_t ns) noexcept:
    """Whole ones, not less."""
    return (ns + 999999999) // 1000000000


cdef dict known = {}               # details live as long as the process: log lines point at them


cdef const char *why_denied(Image image, uint32_t guard, const fgw_ip *client) except? NULL:
    """The details of an answer to a client that is kept out, NULL for one that is let in (I14). ``client``: NULL when its address
    cannot be told."""
    cdef int named = 0
    cdef fgw_span policy
    cdef uint32_t denying = fgw_guard_denies(image.base, guard, client, &named)
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
