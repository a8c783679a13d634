"""The order in which a message is changed: a request is translated, then edited as its route asks; an answer gets the route's
edits, CORS, then the cookie of consistent hashing, and is translated last.

What is changed is a copy; a message that becomes too large by it is a value here, and an answer to the client elsewhere.
"""
from fastgw.dataplane.affinity cimport add_hash_cookie
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.headers cimport write_decimal
from fastgw.dataplane.steps cimport Guard, HeaderEditor, RouteFilter, Translator
from fastgw.dataplane.streams cimport ResponseHead
from fastgw.native.base cimport FGW_HDR_X_ENVOY_UPSTREAM_SERVICE_TIME
from fastgw.native.grpc cimport FGW_GRPC_PLAIN
from fastgw.native.route cimport FGW_NONE


cdef int edit_request(Exchange x) except -1:
    """Once, before an endpoint is known; what is sent again is the edited request. 0: it became too large."""
    try:
        if x.grpc > FGW_GRPC_PLAIN:
            x.translation = (<Translator?>x.ctx.translator).start(x)
        (<HeaderEditor?>x.ctx.editor).edit_request(x)
    except OverflowError:
        return 0
    return 1


cdef bint edits_answers(Exchange x) noexcept:
    """The matched route changes answers, its own as well (K1)."""
    if x.image is None or x.route.action == FGW_NONE:
        return False
    if x.destination != FGW_NONE and x.image.destinations[x.destination].edits.response.count:
        return True
    return x.image.actions[x.route.action].edits.response.count != 0


cdef int edit_answer(Exchange x, ResponseHead *head, size_t head_bytes) except -1:
    """A copy of the fields, with x-envoy-upstream-service-time so that edits can change it. 0: it became too large."""
    cdef char text[24]
    if x.answer is None:
        x.answer = FieldTable()
    x.answer.release()
    try:
        x.answer.load(head.base, head_bytes, head.fields, head.field_count, 1024, 8)
        if x.service_time_ms >= 0:
            x.answer.add_field(FGW_HDR_X_ENVOY_UPSTREAM_SERVICE_TIME, b"x-envoy-upstream-service-time", 29, text,
                               write_decimal(text, <unsigned long long>x.service_time_ms))
        (<HeaderEditor?>x.ctx.editor).edit_answer(x, x.answer)
        if x.gives_cors:
            (<RouteFilter?>x.ctx.filters).edit_answer(x, x.answer)
        if x.gives_limits:
            (<Guard?>x.ctx.guard).edit_answer(x, x.answer)
        if x.gives_hash_cookie and head.from_upstream:
            add_hash_cookie(x, x.answer)
    except OverflowError:
        return 0
    head.base, head.fields, head.field_count = x.answer.base, x.answer.fields, x.answer.field_count
    head.timed = True
    return 1


cdef int translate_answer(Exchange x, ResponseHead *head, bint copied) except -1:
    """0: it became too large."""
    try:
        x.translation.answer_head(x, head, copied)
    except OverflowError:
        return 0
    return 1
