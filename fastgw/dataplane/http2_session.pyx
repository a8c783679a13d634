"""HTTP/2's frame layer (libnghttp2) between a transport and a codec.

The library decodes frames and header compression, keeps windows and stream states, makes frames. What messages mean is judged in
ext/ (its own checks are switched off: two sets of rules would be none). Frames are made once a turn, at its end: what many streams
have to say then goes out in one write. DATA frames are made from the streams' queues without a copy in between.

Nothing here may call the library's mem_recv or mem_send from within one of its callbacks.
"""
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport realloc
from libc.string cimport memset

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.http2_memory cimport session_memory
from fastgw.dataplane.loop cimport Turn
from fastgw.dataplane.transport cimport Protocol, Transport
from fastgw.native.base cimport FGW_FIELD_DROP, FGW_FIELD_LISTED, FGW_FIELD_SECRET, fgw_field
from fastgw.native.http2 cimport FGW_H2_NO_ROOM, FGW_H2_SLACK, fgw_h2_add, fgw_h2_start
from fastgw.native.nghttp2 cimport (
    NGHTTP2_DATA_FLAG_EOF, NGHTTP2_DATA_FLAG_NO_COPY, NGHTTP2_DATA_FLAG_NO_END_STREAM, NGHTTP2_ERR_CALLBACK_FAILURE,
    NGHTTP2_ERR_DEFERRED, NGHTTP2_ERR_PAUSE, NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE, NGHTTP2_ERR_WOULDBLOCK,
    NGHTTP2_NV_FLAG_NO_INDEX, NGHTTP2_NV_FLAG_NONE, nghttp2_data_provider, nghttp2_data_source, nghttp2_data_source_read_callback,
    nghttp2_frame, nghttp2_mem, nghttp2_nv, nghttp2_on_header_callback, nghttp2_option, nghttp2_option_new,
    nghttp2_option_set_max_deflate_dynamic_table_size, nghttp2_option_set_max_send_header_block_length,
    nghttp2_option_set_no_auto_window_update, nghttp2_option_set_no_http_messaging, nghttp2_send_data_callback, nghttp2_session,
    nghttp2_session_callbacks, nghttp2_session_callbacks_new, nghttp2_session_callbacks_set_on_header_callback,
    nghttp2_session_callbacks_set_send_data_callback, nghttp2_session_client_new3, nghttp2_session_consume,
    nghttp2_session_consume_connection, nghttp2_session_del, nghttp2_session_mem_send, nghttp2_session_resume_data,
    nghttp2_session_server_new3, nghttp2_submit_trailer,
)

cdef enum:
    PACK_BYTES = 32768         # so much waits in the transport at the most, and one DATA frame
    PACKS_PER_TURN = 8         # of that, before others have their turn
    BLOCK_BYTES = 2048         # room for a block at first
    BOMB_FACTOR = 16           # a block that goes on for so many times its limit ends the connection
    SEND_BLOCK_MAX = 262144    # of a header block that is sent

cdef nghttp2_nv *pairs = NULL
cdef size_t pairs_cap = 0


cdef nghttp2_nv *pairs_for(size_t count) except NULL:
    """Scratch for one block that is submitted at once, which copies it."""
    global pairs, pairs_cap
    cdef void *larger
    if count > pairs_cap:
        larger = realloc(pairs, (count + 64) * sizeof(nghttp2_nv))
        if larger == NULL:
            raise MemoryError("header block")
        pairs = <nghttp2_nv *>larger
        pairs_cap = count + 64
    return pairs


cdef nghttp2_nv *pair(nghttp2_nv *to, const char *name, size_t name_len, const char *value, size_t value_len) noexcept:
    """Describe one field; the place of the next one."""
    to.name = <uint8_t *>name
    to.value = <uint8_t *>value
    to.namelen = name_len
    to.valuelen = value_len
    to.flags = NGHTTP2_NV_FLAG_NONE
    return to + 1


cdef nghttp2_nv *fill_pairs(nghttp2_nv *to, const char *base, const fgw_field *fields, uint32_t count) noexcept:
    """What is relayed of these fields; the place of the next one. Names become lower case when they are submitted."""
    cdef uint32_t i
    for i in range(count):
        if not fields[i].flags & (FGW_FIELD_DROP | FGW_FIELD_LISTED):
            to = pair(to, base + fields[i].name_off, fields[i].name_len, base + fields[i].value_off, fields[i].value_len)
            if fields[i].flags & FGW_FIELD_SECRET:
                (to - 1).flags = NGHTTP2_NV_FLAG_NO_INDEX
    return to


cdef class BodyQueue:
    def __cinit__(self):
        self.bytes = Buffer()

    cdef int reset(self) except -1:
        """For the next stream."""
        self.has_trailers = self.ended = self.deferred = self.counted = self.starved = False
        self.sent = 0
        if self.trailers is not None:
            self.trailers.release()
        return self.bytes.release()

    cdef bint is_long(self) noexcept:
        """Whoever fills it should pause."""
        self.starved = self.bytes.size() >= QUEUE_BYTES
        return self.starved

    cdef int keep_trailers(self, const char *base, const fgw_field *fields, uint32_t count) except -1:
        """They go out behind the body. Their bytes lie between base and the end of the last value."""
        cdef size_t end = 0
        cdef uint32_t i
        for i in range(count):
            end = max(end, <size_t>fields[i].name_off + fields[i].name_len, <size_t>fields[i].value_off + fields[i].value_len)
        if self.trailers is None:
            self.trailers = FieldTable()
        self.trailers.release()
        self.trailers.load(base, end, fields, count, 0, 0)
        self.has_trailers = True
        return 0

    cdef int provide(self, nghttp2_data_provider *to) noexcept:
        to.source.ptr = <void *>self
        to.read_callback = <nghttp2_data_source_read_callback>read_body
        return 0


cdef ssize_t read_body(nghttp2_session *session, int32_t stream, uint8_t *buf, size_t n, uint32_t *flags,
                       nghttp2_data_source *source, void *user_data) except? -902:
    """How much of a queue goes into the next DATA frame; send_body() fetches it."""
    cdef BodyQueue queue = <BodyQueue>source.ptr
    cdef size_t size = queue.bytes.size()
    if size == 0 and not queue.ended:
        queue.deferred = True
        return NGHTTP2_ERR_DEFERRED
    flags[0] |= NGHTTP2_DATA_FLAG_NO_COPY
    if size > n:
        return <ssize_t>n
    if queue.ended:
        flags[0] |= NGHTTP2_DATA_FLAG_EOF
        if queue.has_trailers and submit_trailers(session, stream, queue.trailers):
            flags[0] |= NGHTTP2_DATA_FLAG_NO_END_STREAM
    return <ssize_t>size


cdef bint submit_trailers(nghttp2_session *session, int32_t stream, FieldTable trailers) except -1:
    """False: none of them is relayed."""
    cdef nghttp2_nv *nva = pairs_for(trailers.field_count)
    cdef size_t count = fill_pairs(nva, trailers.base, trailers.fields, trailers.field_count) - nva
    if count == 0:
        return False
    if nghttp2_submit_trailer(session, stream, nva, count) != 0:
        raise MemoryError("trailers")
    return True


cdef int send_body(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t n, nghttp2_data_source *source,
                   void *user_data) except? -902:
    """The nine bytes of a DATA frame's head, and n bytes of the queue, to the transport."""
    cdef Http2Session c = <Http2Session>user_data
    cdef BodyQueue queue = <BodyQueue>source.ptr
    if c.transport.queued() >= PACK_BYTES:
        c.held = True
        return NGHTTP2_ERR_WOULDBLOCK
    if queue.bytes.size() < n:  # it was thrown away meanwhile
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
    c.transport.write(<const char *>head, 9)
    if n:
        c.transport.write(queue.bytes.head(), n)
        queue.bytes.consume(n)
        queue.sent += n
        if queue.bytes.size() == 0 and not queue.starved:
            queue.counted = False
            c.waiting -= 1
    c.data_frames += 1
    return 0


cdef int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                   const uint8_t *value, size_t value_len, uint8_t flags, void *user_data) except? -902:
    cdef Http2Session c = <Http2Session>user_data
    cdef uint32_t before = c.head.count
    if c.block_stream != frame.hd.stream_id:
        return 0
    if fgw_h2_add(&c.head, <const char *>name, name_len, <const char *>value, value_len) == FGW_H2_NO_ROOM:
        c.grow_block(name_len + value_len)
        fgw_h2_add(&c.head, <const char *>name, name_len, <const char *>value, value_len)
    elif c.head.reason and (c.head.decoded_bytes // BOMB_FACTOR > c.head.limits.head_bytes
                            or c.head.decoded_fields // BOMB_FACTOR > c.head.limits.fields):
        c.bombed = True
        return NGHTTP2_ERR_CALLBACK_FAILURE
    if flags & NGHTTP2_NV_FLAG_NO_INDEX and c.head.count > before:
        c.head.fields[before].flags |= FGW_FIELD_SECRET
    if c.pause_once:
        c.pause_once = False
        return NGHTTP2_ERR_PAUSE
    return 0


cdef nghttp2_session_callbacks *common_callbacks() except NULL:
    """A table with what both sides do alike; it is never freed."""
    cdef nghttp2_session_callbacks *made = NULL
    if nghttp2_session_callbacks_new(&made) != 0:
        raise MemoryError("callbacks")
    nghttp2_session_callbacks_set_on_header_callback(made, <nghttp2_on_header_callback>on_header)
    nghttp2_session_callbacks_set_send_data_callback(made, <nghttp2_send_data_callback>send_body)
    return made


cdef nghttp2_option *common_options() except NULL:
    cdef nghttp2_option *made = NULL
    if nghttp2_option_new(&made) != 0:
        raise MemoryError("options")
    nghttp2_option_set_no_auto_window_update(made, 1)
    nghttp2_option_set_no_http_messaging(made, 1)
    nghttp2_option_set_max_send_header_block_length(made, SEND_BLOCK_MAX)
    nghttp2_option_set_max_deflate_dynamic_table_size(made, HEADER_TABLE_BYTES)
    return made


cdef class Packer(Turn):
    cdef int on_turn_end(self) except -1:
        cdef Http2Session session = self.session
        if session is None or session.session == NULL:
            return 0
        try:
            session.pack()
        except BaseException:
            session.ctx.loop.report_bug()
            session.transport.on_bug()
        return 0


cdef class Http2Session(Protocol):
    def __cinit__(self):
        self.block = Buffer()
        memset(&self.head, 0, sizeof(self.head))
        self.packer = Packer()

    def __dealloc__(self):
        if self.session != NULL:
            nghttp2_session_del(self.session)

    cdef int open_session(self, bint server, const nghttp2_session_callbacks *callbacks, const nghttp2_option *option) except -1:
        """Frames from now on; the transport is set."""
        cdef nghttp2_mem *memory = session_memory(&self.starved)
        cdef int r = -1
        if memory != NULL and server:
            r = nghttp2_session_server_new3(&self.session, callbacks, <void *>self, option, memory)
        elif memory != NULL:
            r = nghttp2_session_client_new3(&self.session, callbacks, <void *>self, option, memory)
        session_memory(NULL)
        if r != 0:
            raise MemoryError("HTTP/2 session")
        self.packer.session = self
        return 0

    # ---- header blocks that arrive

    cdef int start_block(self, int32_t stream, int kind, int options) except -1:
        cdef size_t table = self.ctx.fields_cap * sizeof(fgw_field)
        self.block.release()
        self.block.reserve(table + BLOCK_BYTES)
        self.head.field_cap = <uint32_t>self.ctx.fields_cap
        self.head.fields = <fgw_field *>self.block.data
        self.head.base = self.block.data + table
        self.head.cap = <uint32_t>(self.block.cap - table)
        self.block_stream = stream
        fgw_h2_start(&self.head, kind, options, &self.ctx.limits)
        return 0

    cdef int grow_block(self, size_t n) except -1:
        """Room for n more bytes."""
        cdef size_t table = self.ctx.fields_cap * sizeof(fgw_field)
        self.block.end = table + self.head.len
        self.block.reserve(n + FGW_H2_SLACK)
        self.head.fields = <fgw_field *>self.block.data
        self.head.base = self.block.data + table
        self.head.cap = <uint32_t>(self.block.cap - table)
        return 0

    cdef int end_block(self) except -1:
        self.block_stream = 0
        return self.block.release()

    # ---- frames that leave

    cdef int pack_later(self) except -1:
        """Frames are made at the end of this turn."""
        if self.packer.session is not None:
            self.ctx.loop.at_turn_end(self.packer)
        return 0

    cdef int pack(self) except -1:
        """Make frames and send them, as far as the transport takes them; on_writable() goes on."""
        cdef Transport t = self.transport
        cdef const uint8_t *p
        cdef ssize_t n
        cdef int rounds = 0
        if self.starved:  # something that was asked of it has not been done
            raise MemoryError("HTTP/2 frame layer")
        while t.fd >= 0 and not t.failed:
            if t.queued() >= PACK_BYTES:
                t.flush()
                rounds += 1
                if t.write_blocked or t.failed or t.fd < 0:
                    break
                if rounds == PACKS_PER_TURN:
                    self.pack_later()
                    break
            self.held = False
            n = nghttp2_session_mem_send(self.session, &p)
            if n < 0:
                return self.on_fatal(<int>n)
            if n:
                t.write(<const char *>p, <size_t>n)
            elif not self.held:
                break
        if self.starved:
            raise MemoryError("HTTP/2 frame layer")
        t.flush()
        return self.on_packed()

    cdef int enqueue(self, int32_t stream, BodyQueue queue, const char *p, size_t n) except -1:
        if not queue.counted:
            queue.counted = True
            self.waiting += 1
        queue.bytes.append(p, n)
        return self.resume(stream, queue)

    cdef int discard(self, BodyQueue queue) except -1:
        """Nothing more of it is sent."""
        if queue.counted:
            queue.counted = queue.starved = False
            self.waiting -= 1
        return queue.bytes.release()

    cdef int resume(self, int32_t stream, BodyQueue queue) except -1:
        """The queue has got bytes, or its end."""
        if queue.deferred:
            queue.deferred = False
            nghttp2_session_resume_data(self.session, stream)
        return self.pack_later()

    cdef int consumed(self, int32_t stream, size_t n) except -1:
        """Received body bytes have been taken: the peer may send as many more. stream 0: one that is gone."""
        cdef int r
        if stream:
            r = nghttp2_session_consume(self.session, stream, n)
        else:
            r = nghttp2_session_consume_connection(self.session, n)
        if r != 0:
            raise MemoryError("window")
        return self.pack_later()

    cdef int on_packed(self) except -1:
        """What could be sent now has been sent."""
        return 0

    cdef int on_fatal(self, int error) except -1:
        """The frame layer has given up (NGHTTP2_ERR_*)."""
        raise NotImplementedError
