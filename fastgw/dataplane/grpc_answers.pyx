"""Answers of the gateway to gRPC calls: 200 with a grpc-status and no body (trailers-only), for every kind of local answer.

The mapping is section I's, but for time-outs of routes, which are DEADLINE_EXCEEDED: a client that is told UNAVAILABLE calls again,
although its time is over (Envoy since 2026-04).
"""
from libc.string cimport memset, strlen

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.headers cimport place, write_decimal
from fastgw.dataplane.local_answers cimport EnvoyAnswers
from fastgw.dataplane.own_answers cimport give_answer
from fastgw.dataplane.streams cimport ResponseHead
from fastgw.native.base cimport FGW_HDR_CONTENT_TYPE, FGW_HDR_GRPC_MESSAGE, FGW_HDR_GRPC_STATUS, FGW_HDR_LOCATION, fgw_field
from fastgw.native.grpc cimport (
    FGW_GRPC_DEADLINE_EXCEEDED, FGW_GRPC_NOT, FGW_GRPC_PLAIN, FGW_GRPC_WEB, fgw_grpc_message, fgw_grpc_status_of_http,
)
from fastgw.native.http1 cimport FGW_FRAMING_LENGTH, FGW_FRAMING_NONE
from fastgw.native.state cimport FGW_F_UT

cdef enum:
    MESSAGE_MAX = 1024           # bytes of a body that become grpc-message


cdef class GrpcAnswers(EnvoyAnswers):
    cdef int answer(self, Exchange x, int status, const char *location, size_t location_len, const char *body, size_t n) except -1:
        """``x.grpc_status`` counts where somebody has set it before."""
        cdef fgw_field fields[4]
        cdef ResponseHead head
        cdef Buffer text
        cdef char made[3 * MESSAGE_MAX]
        if x.grpc == FGW_GRPC_NOT:
            return EnvoyAnswers.answer(self, x, status, location, location_len, body, n)
        if x.grpc_status < 0:
            x.grpc_status = FGW_GRPC_DEADLINE_EXCEEDED if x.flags & FGW_F_UT else fgw_grpc_status_of_http(status)
        text = Buffer()
        memset(&head, 0, sizeof(head))
        head.fields = fields
        add(text, &head, FGW_HDR_CONTENT_TYPE, b"content-type", type_of(x.grpc), strlen(type_of(x.grpc)))
        add(text, &head, FGW_HDR_GRPC_STATUS, b"grpc-status", made, write_decimal(made, <unsigned long long>x.grpc_status))
        if n:
            add(text, &head, FGW_HDR_GRPC_MESSAGE, b"grpc-message", made,
                fgw_grpc_message(body, min(n, <size_t>MESSAGE_MAX), made))
        if location != NULL:
            add(text, &head, FGW_HDR_LOCATION, b"location", location, location_len)
        head.base = text.data
        head.status = 200
        head.framing = FGW_FRAMING_NONE if x.client.http2 else FGW_FRAMING_LENGTH
        head.has_content_length = not x.client.http2
        return give_answer(x, &head, text.size(), NULL, 0)


cdef const char *type_of(int kind) noexcept:
    if kind == FGW_GRPC_PLAIN:
        return b"application/grpc"
    return b"application/grpc-web+proto" if kind == FGW_GRPC_WEB else b"application/grpc-web-text+proto"


cdef int add(Buffer text, ResponseHead *head, int header_id, const char *name, const char *value, size_t n) except -1:
    cdef size_t at = text.size()
    text.append(name, strlen(name))
    text.append(value, n)
    place(&head.fields[head.field_count], header_id, at, strlen(name), at + strlen(name), n)
    head.field_count += 1
    return 0
