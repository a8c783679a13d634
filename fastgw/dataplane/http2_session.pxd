"""What HTTP/2 connections of both sides have in common: a frame layer over a transport."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.loop cimport Turn
from fastgw.dataplane.transport cimport Protocol, Transport
from fastgw.native.base cimport fgw_field
from fastgw.native.http2 cimport fgw_h2_head
from fastgw.native.nghttp2 cimport nghttp2_data_provider, nghttp2_nv, nghttp2_option, nghttp2_session, nghttp2_session_callbacks

cdef enum:
    QUEUE_BYTES = 16384        # a stream with so much waiting for frames is backlogged
    STREAM_WINDOW = 65535      # of the protocol's start (RFC 9113 section 6.9.2): what a stream may hold of what was received
    CONNECTION_WINDOW = 1048576
    HEADER_TABLE_BYTES = 4096


cdef class BodyQueue:
    """What one stream sends behind its head: body bytes that wait for frames, then perhaps trailers, then the end."""
    cdef Buffer bytes
    cdef FieldTable trailers       # made when first needed
    cdef bint has_trailers
    cdef bint ended                # nothing is added any more
    cdef bint deferred             # the frame layer has asked in vain and must be told of more
    cdef bint counted              # in Http2Session.waiting
    cdef bint starved              # whoever fills it pauses until it is shorter
    cdef uint64_t sent             # body bytes in frames so far
    cdef int reset(self) except -1
    cdef bint is_long(self) noexcept
    cdef int keep_trailers(self, const char *base, const fgw_field *fields, uint32_t count) except -1
    cdef int provide(self, nghttp2_data_provider *to) noexcept


cdef class Http2Session(Protocol):
    # owned
    cdef Context ctx
    cdef Transport transport
    cdef nghttp2_session *session
    cdef Buffer block              # the header block that is arriving: field table, then bytes
    cdef fgw_h2_head head          # what has been collected in it
    cdef Packer packer
    # state
    cdef int32_t block_stream      # whose block it is, 0: none is under way
    cdef bint pause_once           # stop after the next field, so that others have their turn
    cdef bint bombed               # a block goes on far beyond its limit
    cdef bint starved              # the frame layer wanted memory and got none
    cdef bint held                 # a DATA frame waits until the socket has taken more
    cdef int waiting               # queues with bytes, or whose filler pauses
    cdef uint64_t data_frames      # sent

    cdef int open_session(self, bint server, const nghttp2_session_callbacks *callbacks, const nghttp2_option *option) except -1
    cdef int start_block(self, int32_t stream, int kind, int options) except -1
    cdef int grow_block(self, size_t n) except -1
    cdef int end_block(self) except -1
    cdef int pack_later(self) except -1
    cdef int pack(self) except -1
    cdef int enqueue(self, int32_t stream, BodyQueue queue, const char *p, size_t n) except -1
    cdef int discard(self, BodyQueue queue) except -1
    cdef int resume(self, int32_t stream, BodyQueue queue) except -1
    cdef int consumed(self, int32_t stream, size_t n) except -1
    cdef int on_packed(self) except -1
    cdef int on_fatal(self, int error) except -1


cdef class Packer(Turn):
    cdef Http2Session session


cdef nghttp2_session_callbacks *common_callbacks() except NULL
cdef nghttp2_option *common_options() except NULL
cdef nghttp2_nv *pair(nghttp2_nv *to, const char *name, size_t name_len, const char *value, size_t value_len) noexcept
cdef nghttp2_nv *fill_pairs(nghttp2_nv *to, const char *base, const fgw_field *fields, uint32_t count) noexcept
cdef nghttp2_nv *pairs_for(size_t count) except NULL
