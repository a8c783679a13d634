"""Faults, then CORS, before a request is forwarded (section N, in Envoy's order: N1).

A request that is aborted never reaches what follows, so its answer carries nothing of CORS (N2, N5).
"""
from libc.stdint cimport uint32_t
from libc.string cimport memset

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.headers cimport place
from fastgw.dataplane.own_answers cimport give_answer
from fastgw.dataplane.steps cimport RouteFilter
from fastgw.dataplane.streams cimport ResponseHead
from fastgw.dataplane.timeouts cimport start_delay
from fastgw.native.base cimport FGW_HDR_ORIGIN, FGW_HDR_OTHER, fgw_field
from fastgw.native.grpc cimport FGW_GRPC_NOT
from fastgw.native.http1 cimport FGW_FRAMING_LENGTH, FGW_METHOD_OPTIONS
from fastgw.native.route cimport (
    FGW_GRPC_NONE, FGW_NONE, FGW_PER_MILLION, fgw_any_predicate, fgw_img_cors, fgw_img_route_policy, fgw_regexes_calls,
    fgw_route_request,
)
from fastgw.native.state cimport FGW_C_FAULT_ABORTS, FGW_C_FAULT_DELAYS, FGW_F_DI, FGW_F_FI

cdef enum:
    PREFLIGHT_FIELDS = 5

# HTTP's word for a status of gRPC, to clients that do not speak it (Envoy's table)
cdef int[17] HTTP_OF_GRPC = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401]


cdef class RouteFilters(RouteFilter):
    cdef bint begin(self, Exchange x, const fgw_route_request *q) except -1:
        cdef const fgw_img_route_policy *policy = &x.image.route_policies[x.image.actions[x.route.action].policy]
        if happens(x, policy.delay_per_million):
            x.flags |= FGW_F_DI
            x.ctx.loop.count(FGW_C_FAULT_DELAYS)
            start_delay(x, policy.delay_ms)
            return False
        return self.go_on(x, q)

    cdef bint go_on(self, Exchange x, const fgw_route_request *q) except -1:
        cdef const fgw_img_route_policy *policy = &x.image.route_policies[x.image.actions[x.route.action].policy]
        if happens(x, policy.abort_per_million):
            return self.abort(x, policy)
        return policy.cors == FGW_NONE or self.cors(x, &x.image.cors[policy.cors], q)

    cdef bint abort(self, Exchange x, const fgw_img_route_policy *policy) except -1:
        """N4: a status of gRPC is told to calls as it is."""
        cdef int status = policy.abort_status
        if policy.abort_grpc != FGW_GRPC_NONE:
            status = HTTP_OF_GRPC[min(policy.abort_grpc, <int>16)]
            if x.grpc != FGW_GRPC_NOT:
                x.grpc_status = policy.abort_grpc
        x.ctx.loop.count(FGW_C_FAULT_ABORTS)
        x.reply(status, FGW_F_FI, b"fault_filter_abort", b"fault filter abort", 18)
        return False

    cdef bint cors(self, Exchange x, const fgw_img_cors *cors, const fgw_route_request *q) except -1:
        """N6 to N9."""
        cdef const fgw_field *origin = x.head.find(FGW_HDR_ORIGIN, b"origin", 6)
        cdef const fgw_field *method
        cdef bint allowed
        if origin == NULL or origin.value_len == 0:
            return True
        allowed = fgw_any_predicate(x.image.base, cors.origins, q, x.image.regexes, fgw_regexes_calls())
        method = x.head.find(FGW_HDR_OTHER, b"access-control-request-method", 29)
        if x.head.req.method_id == FGW_METHOD_OPTIONS and method != NULL and method.value_len and (
                allowed or cors.ignore_unmatched):
            self.answer_preflight(x, cors, origin if allowed else NULL, method)
            return False
        if allowed:
            x.gives_cors = True
            x.origin = origin[0]
        return True

    cdef int answer_preflight(self, Exchange x, const fgw_img_cors *cors, const fgw_field *origin,
                              const fgw_field *method) except -1:
        """``origin``: NULL for one that is not allowed (N8)."""
        cdef const fgw_field *headers = x.head.find(FGW_HDR_OTHER, b"access-control-request-headers", 30)
        cdef const char *strings = x.image.strings
        cdef fgw_field fields[PREFLIGHT_FIELDS]
        cdef ResponseHead head
        cdef Buffer text = Buffer()
        memset(&head, 0, sizeof(head))
        head.fields = fields
        if origin != NULL:
            add(text, &head, b"access-control-allow-origin", 27, x.head.base + origin.value_off, origin.value_len)
        if cors.credentials:
            add(text, &head, b"access-control-allow-credentials", 32, b"true", 4)
        if is_any(strings + cors.allow_methods.off, cors.allow_methods.len):
            add(text, &head, b"access-control-allow-methods", 28, x.head.base + method.value_off, method.value_len)
        else:
            add(text, &head, b"access-control-allow-methods", 28, strings + cors.allow_methods.off, cors.allow_methods.len)
        if not is_any(strings + cors.allow_headers.off, cors.allow_headers.len):
            add(text, &head, b"access-control-allow-headers", 28, strings + cors.allow_headers.off, cors.allow_headers.len)
        elif headers != NULL:
            add(text, &head, b"access-control-allow-headers", 28, x.head.base + headers.value_off, headers.value_len)
        add(text, &head, b"access-control-max-age", 22, strings + cors.max_age.off, cors.max_age.len)
        head.base = text.data
        head.status = 200
        head.framing = FGW_FRAMING_LENGTH
        head.has_content_length = True
        x.details = b"cors_response"
        return give_answer(x, &head, text.size(), NULL, 0)

    cdef int edit_answer(self, Exchange x, FieldTable fields) except -1:
        """N9: an upstream's own words about this are replaced."""
        cdef const fgw_img_cors *cors = &x.image.cors[
            x.image.route_policies[x.image.actions[x.route.action].policy].cors]
        replace(fields, b"access-control-allow-origin", 27, x.head.base + x.origin.value_off, x.origin.value_len)
        if cors.credentials:
            replace(fields, b"access-control-allow-credentials", 32, b"true", 4)
        if cors.expose_headers.len:
            replace(fields, b"access-control-expose-headers", 29, x.image.text(cors.expose_headers), cors.expose_headers.len)
        return 0


cdef bint happens(Exchange x, uint32_t per_million) noexcept:
    return per_million != 0 and x.ctx.random() % FGW_PER_MILLION < per_million


cdef bint is_any(const char *text, size_t n) noexcept:
    return n == 1 and text[0] == 42  # '*'


cdef int add(Buffer text, ResponseHead *head, const char *name, size_t name_len, const char *value, size_t n) except -1:
    """One more field, unless its value is empty."""
    cdef size_t at = text.size()
    if n == 0:
        return 0
    text.append(name, name_len)
    text.append(value, n)
    place(&head.fields[head.field_count], FGW_HDR_OTHER, at, name_len, at + name_len, n)
    head.field_count += 1
    return 0


cdef int replace(FieldTable fields, const char *name, size_t name_len, const char *value, size_t n) except -1:
    fields.remove(FGW_HDR_OTHER, name, name_len)
    return fields.add_field(FGW_HDR_OTHER, name, name_len, value, n)
