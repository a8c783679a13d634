"""Answers of the gateway itself, in Envoy's words: statuses, flags, details and texts of section I."""
from libc.stdint cimport uint32_t
from libc.string cimport memcpy, memset, strlen

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.error_pages cimport Page, page_for
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.headers cimport place
from fastgw.dataplane.own_answers cimport give_answer
from fastgw.dataplane.steps cimport LocalAnswers
from fastgw.dataplane.streams cimport (
    FAULT_CONNECT_FAILED, FAULT_CONNECT_TIMEOUT, FAULT_OVERFLOW, FAULT_PROTOCOL, FAULT_REFUSED, FAULT_RESET, FAULT_TIMEOUT,
    ResponseHead,
)
from fastgw.native.base cimport FGW_HDR_CONTENT_TYPE, FGW_HDR_LOCATION, FGW_HDR_OTHER, FGW_HDR_X_ENVOY_OVERLOADED, fgw_field
from fastgw.native.http1 cimport FGW_FRAMING_LENGTH
from fastgw.native.route cimport (
    FGW_ACTION_DIRECT, FGW_ACTION_REDIRECT, fgw_img_action, fgw_img_answer, fgw_img_page, fgw_redirect_location,
    fgw_redirect_location_max, fgw_route_request,
)
from fastgw.native.state cimport FGW_C_UPSTREAM_TIMEOUTS, FGW_F_OM, FGW_F_UC, FGW_F_UF, FGW_F_UO, FGW_F_UPE, FGW_F_UR, FGW_F_UT

cdef const char *CONFIGURED = b"direct_response"  # details of an answer that stands in the configuration: it has no page


cdef class EnvoyAnswers(LocalAnswers):
    cdef int answer(self, Exchange x, int status, const char *location, size_t location_len, const char *body, size_t n) except -1:
        cdef fgw_field fields[5]
        cdef ResponseHead head
        cdef Buffer text = Buffer()
        cdef Page found
        cdef const fgw_img_page *page = NULL
        memset(&head, 0, sizeof(head))
        if x.details != CONFIGURED:
            found = page_for(x, status)
            page = found.page
        if page != NULL:
            body, n = x.image.text(page.body), page.body.len
            text.append(b"content-type", 12)
            text.append(x.image.text(page.content_type), page.content_type.len)
            place(&fields[0], FGW_HDR_CONTENT_TYPE, 0, 12, 12, page.content_type.len)
            head.field_count = 1
            if found.negotiated:
                place(&fields[1], FGW_HDR_OTHER, text.size(), 4, text.size() + 4, 6)
                text.append(b"varyaccept", 10)
                head.field_count = 2
        elif n:
            text.append(b"content-typetext/plain", 22)
            place(&fields[0], FGW_HDR_CONTENT_TYPE, 0, 12, 12, 10)
            head.field_count = 1
        if location != NULL:
            place(&fields[head.field_count], FGW_HDR_LOCATION, text.size(), 8, text.size() + 8, location_len)
            text.append(b"location", 8)
            text.append(location, location_len)
            head.field_count += 1
        if x.flags & FGW_F_UO:
            place(&fields[head.field_count], FGW_HDR_X_ENVOY_OVERLOADED, text.size(), 18, text.size() + 18, 4)
            text.append(b"x-envoy-overloadedtrue", 22)
            head.field_count += 1
        if x.flags & FGW_F_OM:
            place(&fields[head.field_count], FGW_HDR_OTHER, text.size(), 11, text.size() + 11, 1)
            text.append(b"retry-after1", 12)
            head.field_count += 1
        head.base = text.data
        head.fields = fields
        head.content_length = n
        head.status = <unsigned short>status
        head.framing = FGW_FRAMING_LENGTH
        head.has_content_length = True
        return give_answer(x, &head, text.size(), body, n)

    cdef int answer_fault(self, Exchange x, int fault, int reason, int error) except -1:
        """Statements I4 to I8."""
        cdef bint tls = x.transport_failure is not None
        if fault == FAULT_CONNECT_FAILED:
            return self.reset(x, 503, FGW_F_UF, b"remote_connection_failure|TLS_error" if tls else b"remote_connection_failure",
                              b"remote connection failure")
        if fault == FAULT_CONNECT_TIMEOUT:
            return self.reset(x, 503, FGW_F_UF, b"connection_timeout", b"connection timeout")
        if fault == FAULT_TIMEOUT:
            x.ctx.loop.count(FGW_C_UPSTREAM_TIMEOUTS)
            return x.reply(504, FGW_F_UT, b"upstream_response_timeout", b"upstream request timeout", 24)
        if fault == FAULT_PROTOCOL:
            x.reject_reason = reason
            x.ctx.reject(reason)
            return self.reset(x, 502, FGW_F_UPE, b"protocol_error", b"protocol error")
        if fault == FAULT_OVERFLOW:
            return self.reset(x, 503, FGW_F_UO, b"overflow", b"overflow")
        if fault == FAULT_RESET or fault == FAULT_REFUSED:
            return self.reset(x, 503, FGW_F_UR, b"remote_reset", b"remote reset")
        return self.reset(x, 503, FGW_F_UF if tls else FGW_F_UC,
                          b"connection_termination|TLS_error" if tls else b"connection_termination", b"connection termination")

    cdef int answer_action(self, Exchange x, const fgw_route_request *q) except -1:
        """Statements M6 to M10."""
        cdef const fgw_img_action *a = &x.image.actions[x.route.action]
        cdef const fgw_img_answer *answer
        cdef Buffer location
        cdef size_t n
        if a.kind != FGW_ACTION_REDIRECT and a.kind != FGW_ACTION_DIRECT:
            return x.reply(503, 0, b"action_not_supported", NULL, 0)
        answer = &x.image.answers[a.answer]
        if a.kind == FGW_ACTION_DIRECT:
            return x.reply(answer.status, 0, CONFIGURED, x.image.text(answer.text), answer.text.len)
        location = Buffer()
        n = fgw_redirect_location(x.image.base, x.route.rule, q,
                                  location.reserve(fgw_redirect_location_max(x.image.base, x.route.rule, q)))
        x.details = CONFIGURED
        return x.reply_redirect(answer.status, location.data, n)

    cdef int answer_https(self, Exchange x) except -1:
        """httpsRedirect: Host exactly as sent, path and query (statement M1)."""
        cdef size_t n = 8 + x.head.req.authority.len + x.head.raw_path_len
        cdef Buffer text = Buffer()
        text.append(b"https://", 8)
        text.append(x.head.base + x.head.req.authority.off, x.head.req.authority.len)
        text.append(x.head.path, x.head.raw_path_len)
        x.details = b"https_redirect"
        return x.reply_redirect(301, text.head(), n)

    cdef int reset(self, Exchange x, int status, uint32_t flags, const char *cause, const char *reason) except -1:
        """``cause``: what stands in the braces of the details."""
        cdef char text[256]
        cdef size_t n
        cdef const char *start = b"upstream connect error or disconnect/reset before headers. "
        cdef const char *again = b"retried and the latest "
        memcpy(text, start, strlen(start))
        n = strlen(start)
        if x.attempts > 1:
            memcpy(text + n, again, strlen(again))
            n += strlen(again)
        memcpy(text + n, b"reset reason: ", 14)
        n += 14
        memcpy(text + n, reason, strlen(reason))
        return x.reply(status, flags, details_of(cause), text, n + strlen(reason))


cdef dict known = {}               # details live as long as the process: log lines point at them


cdef const char *details_of(const char *cause) except NULL:
    cdef bytes key = cause
    cdef bytes text = known.get(key)
    if text is None:
        text = known[key] = b"upstream_reset_before_response_started{" + key + b"}"
    return text
