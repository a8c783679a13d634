"""The handshake that turns an HTTP/1.1 connection into a WebSocket (RFC 6455), and an exchange that has had it."""
from libc.stdint cimport uint32_t

from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.request_head cimport RequestHead
from fastgw.native.base cimport fgw_field

cdef enum:
    WEBSOCKET_KEY = 24         # characters of Sec-WebSocket-Key
    WEBSOCKET_ACCEPT = 28      # and of Sec-WebSocket-Accept


cdef bint wants_websocket(RequestHead head) noexcept
cdef bint names_websocket(const char *base, const fgw_field *fields, uint32_t count) noexcept
cdef bint brings_key(RequestHead head) noexcept
cdef int make_key(Context ctx, char *out) except -1
cdef bint accepts_key(const char *base, const fgw_field *fields, uint32_t count, const char *key) except -1
cdef int switch(Exchange x) except -1
cdef int check_switched_end(Exchange x) except -1
cdef int end_switched(Exchange x, const char *details) except -1
