"""Contracts of the steps of an exchange that have modules of their own.

A worker has one object of each, in its Context, put there by who makes the Server; a Translation is one exchange's.
"""
from libc.stdint cimport int64_t, uint32_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.streams cimport ResponseHead
from fastgw.native.base cimport fgw_field
from fastgw.native.route cimport fgw_route_request


cdef class Gate:
    cdef bint refuses(self, Exchange x) except -1:
        """Is this one not taken? Asked while ctx.refuse_share is other than 0; has counted it then."""
        raise NotImplementedError


cdef class HeaderEditor:
    cdef int edit_request(self, Exchange x) except -1:
        """Change x.head as its route and destination ask. OverflowError when it becomes too large."""
        raise NotImplementedError

    cdef int edit_answer(self, Exchange x, FieldTable fields) except -1:
        """The same for an answer's fields."""
        raise NotImplementedError


cdef class Translation:
    def __cinit__(self):
        self.out = Buffer()

    cdef int request_body(self, const char *p, size_t n) except -1:
        """Append what goes upstream to `out`: 0, or an fgw_reason to refuse it."""
        raise NotImplementedError

    cdef int request_end(self) except -1:
        """0, or why the request is not whole."""
        return 0

    cdef int answer_head(self, Exchange x, ResponseHead *head, bint copied) except -1:
        """Change the head. ``copied``: it is x.answer already. OverflowError when it becomes too large."""
        raise NotImplementedError

    cdef int answer_body(self, const char *p, size_t n) except -1:
        """Append what the client gets to `out`."""
        raise NotImplementedError

    cdef int answer_trailers(self, const char *base, const fgw_field *fields, uint32_t count) except -1:
        """The same; the client gets no trailers, unless the answer passes as it is."""
        raise NotImplementedError


cdef class Translator:
    cdef Translation start(self, Exchange x):
        """For a request with a route, whose head it changes. OverflowError when it becomes too large."""
        raise NotImplementedError


cdef class LocalAnswers:
    cdef int answer(self, Exchange x, int status, const char *location, size_t location_len, const char *body, size_t n) except -1:
        """Put an answer into words for this client, hand it to give_answer(); location may be NULL. The exchange is finished."""
        raise NotImplementedError

    cdef int answer_fault(self, Exchange x, int fault, int reason, int error) except -1:
        """The same for what went wrong with the upstream (enum Fault, fgw_reason, errno)."""
        raise NotImplementedError

    cdef int answer_action(self, Exchange x, const fgw_route_request *q) except -1:
        """The same for a rule that is no route: redirects, direct responses, and what cannot be performed."""
        raise NotImplementedError

    cdef int answer_https(self, Exchange x) except -1:
        """The same for a host that is to be asked over TLS."""
        raise NotImplementedError


cdef class RetryPolicy:
    cdef bint again_after_fault(self, Exchange x, int fault, bint reused) except -1:
        """Without an answer's head: has send_again() been called? ``reused``: the attempt was on a pooled connection."""
        raise NotImplementedError

    cdef bint again_after_answer(self, Exchange x, const ResponseHead *head) except -1:
        """The same for an answer, whose head the client has not seen."""
        raise NotImplementedError

    cdef int64_t try_timeout_ms(self, Exchange x) noexcept:
        """For one attempt, 0: none."""
        return 0

    cdef bint avoids_tried(self, Exchange x) noexcept:
        """Endpoints that have been tried are left alone where others are (J10)."""
        return True

    cdef int leave_levels(self, Exchange x) noexcept:
        """Before another attempt: set x.skip_levels where it is to go to other localities."""
        return 0

    cdef int end_retry(self, Exchange x) except -1:
        """x.retrying is over: something is known of how it went."""
        return 0


cdef class Guard:
    cdef bint admit(self, Exchange x, uint32_t guard, const fgw_route_request *q) except -1:
        """May it go on? Else it has been answered. ``guard``: index in the image."""
        return True

    cdef int refuse_body(self, Exchange x) except -1:
        """There is more of it than x.body_limit."""
        raise NotImplementedError

    cdef int edit_answer(self, Exchange x, FieldTable fields) except -1:
        """After all other edits, when x.gives_limits is set."""
        return 0


cdef class RouteFilter:
    cdef bint begin(self, Exchange x, const fgw_route_request *q) except -1:
        """May it go on? Else it has been answered, or start_delay() has been called."""
        return True

    cdef bint go_on(self, Exchange x, const fgw_route_request *q) except -1:
        """The same at the end of a pause."""
        return True

    cdef int edit_answer(self, Exchange x, FieldTable fields) except -1:
        """After the route's own edits, when x.gives_cors is set."""
        return 0


cdef class Mirrors:
    cdef int start(self, Exchange x) except -1:
        """The request is about to be forwarded as it is now; sets x.mirrors where its body is to be copied."""
        return 0

    cdef int body(self, Exchange x, const char *p, size_t n) except -1:
        """A piece of the body, for x.mirrors."""
        return 0

    cdef int end(self, Exchange x, bint whole) except -1:
        """The end of the request, or of all hope for it: x.mirrors are on their own."""
        return 0
