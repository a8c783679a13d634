"""What an exchange has done by others on its way: policies, edits, translations, answers of the gateway."""
from libc.stdint cimport int64_t, uint32_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.streams cimport ResponseHead
from fastgw.native.base cimport fgw_field
from fastgw.native.route cimport fgw_route_request


cdef class Gate:
    """Whether new requests are taken while the worker is overloaded."""
    cdef bint refuses(self, Exchange x) except -1


cdef class HeaderEditor:
    """What routes ask for: fields of requests and answers are changed on the way."""
    cdef int edit_request(self, Exchange x) except -1
    cdef int edit_answer(self, Exchange x, FieldTable fields) except -1


cdef class Translation:
    """Another form of the same messages towards one client, for the life of an exchange: gRPC-Web."""
    cdef Buffer out                # what is relayed in place of what came
    cdef bint passes               # the answer is none that this translates
    cdef int request_body(self, const char *p, size_t n) except -1
    cdef int request_end(self) except -1
    cdef int answer_head(self, Exchange x, ResponseHead *head, bint copied) except -1
    cdef int answer_body(self, const char *p, size_t n) except -1
    cdef int answer_trailers(self, const char *base, const fgw_field *fields, uint32_t count) except -1


cdef class Translator:
    cdef Translation start(self, Exchange x)


cdef class LocalAnswers:
    """Answers of the gateway itself: which one a fault gets, and how it is put to whoever asked."""
    cdef int answer(self, Exchange x, int status, const char *location, size_t location_len, const char *body, size_t n) except -1
    cdef int answer_fault(self, Exchange x, int fault, int reason, int error) except -1
    cdef int answer_action(self, Exchange x, const fgw_route_request *q) except -1
    cdef int answer_https(self, Exchange x) except -1


cdef class RetryPolicy:
    """Whether a request is sent again."""
    cdef bint again_after_fault(self, Exchange x, int fault, bint reused) except -1
    cdef bint again_after_answer(self, Exchange x, const ResponseHead *head) except -1
    cdef int64_t try_timeout_ms(self, Exchange x) noexcept
    cdef bint avoids_tried(self, Exchange x) noexcept
    cdef int leave_levels(self, Exchange x) noexcept
    cdef int end_retry(self, Exchange x) except -1


cdef class Guard:
    """What is asked of a request before anything else is done with it."""
    cdef bint admit(self, Exchange x, uint32_t guard, const fgw_route_request *q) except -1
    cdef int refuse_body(self, Exchange x) except -1
    cdef int edit_answer(self, Exchange x, FieldTable fields) except -1


cdef class RouteFilter:
    """What a route's policy does with a request before it is forwarded, and with its answer."""
    cdef bint begin(self, Exchange x, const fgw_route_request *q) except -1
    cdef bint go_on(self, Exchange x, const fgw_route_request *q) except -1
    cdef int edit_answer(self, Exchange x, FieldTable fields) except -1


cdef class Mirrors:
    """Copies of requests, sent elsewhere."""
    cdef int start(self, Exchange x) except -1
    cdef int body(self, Exchange x, const char *p, size_t n) except -1
    cdef int end(self, Exchange x, bint whole) except -1
