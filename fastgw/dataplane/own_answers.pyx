"""Sending an answer of the gateway's own, as the client takes it; what it says is for LocalAnswers."""
from fastgw.dataplane.edits cimport edit_answer, edits_answers
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.streams cimport ResponseHead

cdef enum:
    OWN_PIECE_BYTES = 32768


cdef int give_answer(Exchange x, ResponseHead *head, size_t head_bytes, const char *body, size_t n) except -1:
    """Send it, whole, and finish. ``head_bytes``: from head.base on. A body of more than OWN_PIECE_BYTES lies in the image, so that
    it can wait there for the client."""
    x.response_started = True
    x.timeout_at_ms = 0
    x.status = head.status
    x.response_ns = x.ctx.loop.now_ns
    if x.gives_cors | x.gives_limits | edits_answers(x):
        edit_answer(x, head, head_bytes)
    x.client.start_response(x, head)
    x.own_body, x.own_left = body, n
    return give_body(x)


cdef int give_body(Exchange x) except -1:
    """Go on with it."""
    cdef const char *piece
    cdef size_t n
    while x.own_left:
        piece, n = x.own_body, min(x.own_left, <size_t>OWN_PIECE_BYTES)
        x.own_body += n
        x.own_left -= n
        x.bytes_sent += n
        x.client.write_body(piece, n)
        if x.own_left and x.client.backlogged():
            return 0
    x.response_done = True
    x.client.end_response()
    return x.finish()
