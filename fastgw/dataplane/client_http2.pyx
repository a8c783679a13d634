"""HTTP/2 towards clients (RFC 9113): streams, each with its exchange, over one frame layer.

What a stream does is in client_http2_stream.pyx. What floods, stalls or breaks the frame layer ends the connection with GOAWAY and
a counted reason (http2_guard). A connection that is to end says GOAWAY twice, so that no request is lost that was
on its way (section 6.8).

Deadlines (one timer a connection, looked at lazily): greeting, header block, idleness, stalled write; of each stream its body and
the client's patience with the answer.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.client_http2_callbacks cimport client_callbacks, client_options
from fastgw.dataplane.client_http2_stream cimport ClientHttp2Stream, StreamPool
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.dial cimport local_text
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.http2_guard cimport FrameGuard
from fastgw.dataplane.http2_session cimport CONNECTION_WINDOW, Http2Session
from fastgw.dataplane.loop cimport Turn
from fastgw.dataplane.served cimport ClientSide, ConnectionOwner
from fastgw.dataplane.transport cimport Transport
from fastgw.dataplane.websocket cimport end_switched
from fastgw.native.base cimport (
    FGW_OK, FGW_R_H2_BAD_PREFACE, FGW_R_H2_COMPRESSION, FGW_R_H2_FRAMING, FGW_R_H2_HEADER_BOMB, FGW_R_H2_PING_FLOOD,
    FGW_R_HEAD_TIMEOUT,
)
from fastgw.native.http1 cimport fgw_request
from fastgw.native.http2 cimport fgw_h2_request
from fastgw.native.nghttp2 cimport (
    NGHTTP2_CANCEL, NGHTTP2_COMPRESSION_ERROR, NGHTTP2_DATA, NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_ERR_BAD_CLIENT_MAGIC,
    NGHTTP2_ERR_CALLBACK_FAILURE, NGHTTP2_ERR_FLOODED, NGHTTP2_ERR_NOMEM, NGHTTP2_FLAG_ACK, NGHTTP2_FLAG_END_STREAM,
    NGHTTP2_FLAG_NONE, NGHTTP2_GOAWAY, NGHTTP2_HCAT_REQUEST, NGHTTP2_HEADERS, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR,
    NGHTTP2_PING, NGHTTP2_PROTOCOL_ERROR, NGHTTP2_REFUSED_STREAM, NGHTTP2_RST_STREAM, NGHTTP2_SETTINGS,
    NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
    NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, NGHTTP2_STREAM_CLOSED, nghttp2_frame, nghttp2_session_get_last_proc_stream_id,
    nghttp2_session_get_stream_user_data, nghttp2_session_mem_recv, nghttp2_session_mem_send,
    nghttp2_session_set_local_window_size, nghttp2_session_terminate_session, nghttp2_session_want_write, nghttp2_settings_entry,
    nghttp2_submit_goaway, nghttp2_submit_ping, nghttp2_submit_rst_stream, nghttp2_submit_settings, nghttp2_submit_shutdown_notice,
)
from fastgw.native.route cimport FGW_NONE
from fastgw.native.state cimport (
    FGW_C_CLIENT_CONNECTIONS_CLOSED, FGW_C_CLIENT_TIMEOUTS_HEAD, FGW_C_CLIENT_TIMEOUTS_IDLE, FGW_C_CLIENT_TIMEOUTS_WRITE,
    FGW_C_HTTP2_CONNECTIONS, FGW_G_CLIENT_ACTIVE,
)

cdef enum:
    GOODBYE_MS = 1000            # between the two GOAWAY, when the client does not answer our PING (requirement F15)
    LINGER_MS = 2000             # requirement A13
    LINGER_BYTES = 262144
    FORGIVEN_MS = 30000          # for so long frames may come that were sent before our RST_STREAM arrived

cdef long connections = 0


def client_connections_alive():
    """For leak checks: HTTP/2 client connections that are not destroyed."""
    return connections


cdef class ConnectionPlace(ClientSide):
    def __init__(self, ClientHttp2 connection):
        self.connection = connection
        self.ctx = connection.ctx

    cdef int locate(self, uint32_t listener) except -1:
        ClientSide.locate(self, listener)
        return self.connection.part() if self.route_table == FGW_NONE else 0

    cdef int socket_address(self, char *out) noexcept:
        return local_text(self.connection.transport.fd, out) if self.connection is not None else 0

    cdef ClientHttp2Stream largest(self):
        """The stream that holds most, None without streams."""
        cdef ClientHttp2Stream stream = self.connection.first if self.connection is not None else None
        cdef ClientHttp2Stream found = stream
        while stream is not None:
            if stream.held_bytes() > found.held_bytes():
                found = stream
            stream = stream.next
        return found

    cdef int hurry(self) except -1:
        return self.connection.arm() if self.connection is not None else 0

    cdef size_t held_bytes(self) noexcept:
        cdef ClientHttp2Stream stream = self.largest()
        return stream.held_bytes() if stream is not None else 0

    cdef int drop_largest(self) except -1:
        cdef ClientHttp2Stream stream = self.largest()
        return stream.drop_largest() if stream is not None else 0

    def drain(self):
        """No new request once the client has heard of it; then the end."""
        self.connection.part()

    def forewarn(self):
        """The notice may come at any time: streams that are opened before the client has heard of it are served."""
        self.connection.part()

    def cut(self):
        """A WebSocket is recorded as what it was; other exchanges had their time."""
        self.connection.cut_switched()


cdef class GoOn(Turn):
    cdef int on_turn_end(self) except -1:
        cdef ClientHttp2 c = self.connection
        if c is None or c.owner is None:
            return 0
        if c.turn == c.ctx.loop.turns:
            return c.ctx.loop.at_turn_end(self)
        try:
            c.proceed()
        except BaseException:
            c.ctx.loop.report_bug()
            c.transport.on_bug()
        return 0


cdef class ClientHttp2(Http2Session):
    def __init__(self, StreamPool pool, ConnectionOwner owner):
        self.ctx = pool.ctx
        self.pool = pool
        self.owner = owner
        self.place = ConnectionPlace(self)
        self.pending = Buffer()
        self.guard = FrameGuard()
        self.go_on = GoOn()
        self.go_on.connection = self

    cdef int start(self, Transport transport, const char *p, size_t n) except -1:
        """Serve a connection over an open transport, of which n bytes have been read. `place` is set."""
        global connections
        connections += 1
        self.ctx.gauge(FGW_G_CLIENT_ACTIVE, 1)
        self.transport = transport
        transport.protocol = self
        self.ctx.loop.count(FGW_C_HTTP2_CONNECTIONS)
        self.phase_ms = self.ctx.loop.now_ms
        self.expires_ms = self.ctx.expiry()
        self.open_session(True, client_callbacks, client_options)
        self.guard.session = self.session
        self.announce()
        self.arm()
        return self.on_data(p, n) if n else self.pack_later()

    cdef int announce(self) except -1:
        """Our SETTINGS. The library would answer a stream too many with the end of the connection; it is told of no limit, and
        streams over the one that the client is told of are refused by us (RFC 9113 section 5.1.2)."""
        cdef nghttp2_settings_entry entries[4]
        cdef uint32_t most = <uint32_t>self.ctx.http2_streams
        cdef const uint8_t *p
        cdef ssize_t n
        cdef char limit[4]
        entries[0].settings_id = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
        entries[0].value = 0x7fffffff
        entries[1].settings_id = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
        entries[1].value = self.ctx.limits.head_bytes
        entries[2].settings_id = NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES
        entries[2].value = 1
        entries[3].settings_id = NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL
        entries[3].value = 1
        if nghttp2_submit_settings(self.session, NGHTTP2_FLAG_NONE, entries, 4 if self.ctx.http2_websockets else 3) != 0:
            raise MemoryError("SETTINGS")
        n = nghttp2_session_mem_send(self.session, &p)
        if n < 15:
            raise MemoryError("SETTINGS")
        limit[0], limit[1], limit[2], limit[3] = 0, 0, <char>(most >> 8), <char>(most & 255)
        self.transport.write(<const char *>p, 11)  # the frame's head and the first identifier
        self.transport.write(limit, 4)
        self.transport.write(<const char *>p + 15, <size_t>n - 15)
        if nghttp2_session_set_local_window_size(self.session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW) != 0:
            raise MemoryError("WINDOW_UPDATE")
        return 0

    # ---- input

    cdef int on_data(self, const char *p, size_t n) except -1:
        cdef size_t used
        if self.goodbye == LINGERING:
            self.linger_left -= min(self.linger_left, n)
            return self.destroy() if self.linger_left == 0 else 0
        self.guard.settled = self.settled_stream()
        if self.judge(self.guard.on_data(p, n, self.data_frames, self.ctx.loop.now_ms)):
            return self.condemn(self.reason, self.guard.code)
        if self.pending.size():
            return self.pending.append(p, n)
        used = self.consume(p, n)
        if used < n and self.owner is not None and self.goodbye != LINGERING:
            self.pending.append(p + used, n - used)
            self.transport.pause_reading()
            self.ctx.loop.at_turn_end(self.go_on)
        return 0

    cdef uint32_t settled_stream(self) noexcept:
        """Up to here streams that the frame layer does not know are closed, and not because we have just reset them: then what the
        client had sent before it heard is forgiven (section 5.1)."""
        if self.reset_ms and self.ctx.loop.now_ms <= self.reset_ms + FORGIVEN_MS:
            return 0
        return <uint32_t>(self.block_stream - 1 if self.block_stream else self.last_stream)

    cdef int proceed(self) except -1:
        """Go on with what waited for this turn."""
        cdef size_t used
        if self.pending.size() == 0:
            return 0
        used = self.consume(self.pending.head(), self.pending.size())
        if self.owner is None or self.goodbye == LINGERING:
            return self.pending.release()
        self.pending.consume(used)
        if self.pending.size():
            return self.ctx.loop.at_turn_end(self.go_on)
        return self.transport.resume_reading()

    cdef size_t consume(self, const char *p, size_t n) except? <size_t>-1:
        """Give bytes to the frame layer, which takes all of them unless a callback asks for a pause."""
        cdef ssize_t used = nghttp2_session_mem_recv(self.session, <const uint8_t *>p, n)
        if used < 0:
            self.on_fatal(<int>used)
            return n
        self.touch(None)
        if self.reason:
            self.condemn(self.reason, NGHTTP2_ENHANCE_YOUR_CALM)
            return n
        if self.block_stream:
            self.arm_by(self.block_ms + self.ctx.head_timeout_ms if self.ctx.head_timeout_ms else 0)
        self.pack_later()
        return <size_t>used

    cdef int judge(self, int reason) noexcept:
        """A reason for which the connection has to end; the frame layer is left with the answer."""
        if reason == FGW_OK:
            return 0
        if self.reason == FGW_OK:
            self.reason = reason
        return NGHTTP2_ERR_CALLBACK_FAILURE

    cdef int on_fatal(self, int error) except -1:
        if error == NGHTTP2_ERR_NOMEM:
            raise MemoryError("HTTP/2 frame layer")
        if self.reason:
            return self.condemn(self.reason, NGHTTP2_STREAM_CLOSED if self.reason == FGW_R_H2_FRAMING
                                else NGHTTP2_ENHANCE_YOUR_CALM)
        if self.bombed:
            return self.condemn(FGW_R_H2_HEADER_BOMB, NGHTTP2_ENHANCE_YOUR_CALM)
        if error == NGHTTP2_ERR_BAD_CLIENT_MAGIC:
            return self.condemn(FGW_R_H2_BAD_PREFACE, NGHTTP2_PROTOCOL_ERROR)
        if error == NGHTTP2_ERR_FLOODED:
            return self.condemn(FGW_R_H2_PING_FLOOD, NGHTTP2_ENHANCE_YOUR_CALM)
        return self.condemn(FGW_R_H2_FRAMING, NGHTTP2_INTERNAL_ERROR)

    cdef int on_head(self, const nghttp2_frame *frame) except -1:
        """A header block is whole."""
        cdef bint ends = frame.hd.flags & NGHTTP2_FLAG_END_STREAM
        cdef void *found
        if self.block_stream != frame.hd.stream_id:
            return 0
        if frame.headers.cat == NGHTTP2_HCAT_REQUEST:
            self.begin_request(frame.hd.stream_id, ends)
        else:
            found = nghttp2_session_get_stream_user_data(self.session, frame.hd.stream_id)
            if found != NULL:
                (<ClientHttp2Stream>found).request_ended = ends
                (<ClientHttp2Stream>found).on_trailers()
        return self.end_block()

    cdef int begin_request(self, int32_t id, bint ends) except -1:
        cdef ClientHttp2Stream stream
        cdef fgw_request request
        cdef int reason
        if self.streams >= self.ctx.http2_streams or self.leaving:
            return self.refuse_stream(id)
        stream = self.pool.take()
        stream.open(self, id, ends)
        self.requests += 1
        reason = fgw_h2_request(&self.head, ends, &request)
        if reason:
            stream.spare.begin_rejected(reason)
        else:
            request.head_len = self.head.len
            stream.begin(&request)
        if self.ctx.parting or (
                self.ctx.max_requests_per_connection and self.requests >= <uint64_t>self.ctx.max_requests_per_connection):
            return self.part()
        return 0

    cdef int refuse_stream(self, int32_t id) except -1:
        """Not looked at: it may be sent again (section 8.7)."""
        self.reset_ms = self.ctx.loop.now_ms
        nghttp2_submit_rst_stream(self.session, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM)
        return 0

    cdef int touch(self, ClientHttp2Stream stream) except -1:
        """Body bytes go to this stream's upstream now: those of the one before are sent."""
        cdef ClientHttp2Stream before = self.touched
        cdef Exchange x
        if before is stream:
            return 0
        self.touched = stream
        if before is not None:
            x = before.exchange
            if x is not None and x.upstream is not None and x.head_sent:
                x.upstream.flush()
        return 0

    cdef int on_frame(self, const nghttp2_frame *frame) except -1:
        """A whole frame but for HEADERS; NGHTTP2_ERR_CALLBACK_FAILURE after judge()."""
        cdef int kind = frame.hd.type
        cdef bint ends
        cdef void *found
        if kind == NGHTTP2_DATA:
            ends = frame.hd.flags & NGHTTP2_FLAG_END_STREAM
            if ends:
                found = nghttp2_session_get_stream_user_data(self.session, frame.hd.stream_id)
                if found != NULL:
                    (<ClientHttp2Stream>found).on_end()
            return self.judge(self.guard.on_content(frame.hd.length - frame.data.padlen, ends))
        if kind == NGHTTP2_RST_STREAM:
            return self.judge(self.guard.on_reset(self.ctx.loop.now_ms))
        if kind == NGHTTP2_SETTINGS:
            self.greeted = True
        elif kind == NGHTTP2_GOAWAY:
            self.leaving = True
        elif kind == NGHTTP2_PING and frame.hd.flags & NGHTTP2_FLAG_ACK and self.goodbye == NOTICE_SENT:
            self.send_farewell()  # the client has read our notice: nothing is on its way any more
        return 0

    cdef int on_eof(self) except -1:
        """The client will send no more; what is not answered is abandoned."""
        return self.destroy()

    cdef int on_closed(self, int reason, int error) except -1:
        return self.destroy()

    # ---- output

    cdef int on_writable(self) except -1:
        if self.goodbye == LINGERING or self.owner is None:
            return 0
        return self.pack()

    cdef int on_made(self, const nghttp2_frame *frame) except -1:
        """A frame is about to leave."""
        cdef uint32_t code
        cdef void *found
        if self.stopping and frame.hd.flags & NGHTTP2_FLAG_END_STREAM and frame.hd.type <= NGHTTP2_HEADERS:
            found = nghttp2_session_get_stream_user_data(self.session, frame.hd.stream_id)
            if found != NULL and (<ClientHttp2Stream>found).stops_client:  # RFC 9113 section 8.1: after the whole answer
                (<ClientHttp2Stream>found).stop_client(False)
                nghttp2_submit_rst_stream(self.session, NGHTTP2_FLAG_NONE, frame.hd.stream_id, NGHTTP2_NO_ERROR)
        elif frame.hd.type == NGHTTP2_RST_STREAM:
            code = frame.rst_stream.error_code
            self.reset_ms = self.ctx.loop.now_ms
            if code != NGHTTP2_NO_ERROR and code != NGHTTP2_INTERNAL_ERROR and code != NGHTTP2_CANCEL:
                self.judge(self.guard.on_reset(self.ctx.loop.now_ms))  # requirement F3: the client made us do it
        elif frame.hd.type == NGHTTP2_GOAWAY and frame.goaway.error_code != NGHTTP2_NO_ERROR and not self.condemned:
            code = frame.goaway.error_code
            self.reason = FGW_R_H2_COMPRESSION if code == NGHTTP2_COMPRESSION_ERROR else FGW_R_H2_FRAMING
        return 0

    cdef int on_packed(self) except -1:
        cdef ClientHttp2Stream stream
        cdef ClientHttp2Stream following
        if self.owner is None or self.goodbye == LINGERING or self.condemned:
            return 0
        if self.reason:
            return self.condemn(self.reason, NGHTTP2_ENHANCE_YOUR_CALM)
        if self.waiting:
            stream = self.first
            while stream is not None:
                following = stream.next
                stream.after_packed()
                stream = following
        if self.streams == 0:
            if self.goodbye == FAREWELL_SENT and not nghttp2_session_want_write(self.session):
                return self.linger()
            if self.leaving and self.goodbye != FAREWELL_SENT:
                return self.send_farewell()
        if self.transport.queued() and self.ctx.write_timeout_ms:
            return self.arm_by(self.transport.progress_ms + self.ctx.write_timeout_ms)
        return 0

    # ---- ending

    cdef int part(self) except -1:
        """The polite end: what is under way, and what the client sends before it has heard, is still served (requirement F15)."""
        if self.goodbye != STAYING or self.owner is None:
            return 0
        self.goodbye = NOTICE_SENT
        self.phase_ms = self.ctx.loop.now_ms
        nghttp2_submit_shutdown_notice(self.session)
        nghttp2_submit_ping(self.session, NGHTTP2_FLAG_NONE, NULL)
        self.arm_by(self.phase_ms + GOODBYE_MS)
        return self.pack_later()

    cdef int send_farewell(self) except -1:
        self.goodbye = FAREWELL_SENT
        nghttp2_submit_goaway(self.session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(self.session),
                              NGHTTP2_NO_ERROR, NULL, 0)
        return self.pack_later()

    cdef int condemn(self, int reason, uint32_t code) except -1:
        """The end, now, with GOAWAY; streams are abandoned. Not from within the frame layer."""
        if self.owner is None or self.goodbye == LINGERING:
            return 0
        self.ctx.reject(reason)
        self.condemned = True
        self.goodbye = FAREWELL_SENT
        nghttp2_session_terminate_session(self.session, code)
        try:
            self.pack()
        except MemoryError:
            return self.destroy()
        return self.linger()

    cdef int linger(self) except -1:
        """Half-close, then read and drop for a short while: closing with unread input would reset the last frames away."""
        if self.owner is None or self.goodbye == LINGERING:
            return 0
        self.goodbye = LINGERING
        self.packer.session = None
        self.drop_streams()
        self.block.release()
        self.transport.shut()
        if self.transport.fd < 0:
            return self.destroy()
        self.linger_left = LINGER_BYTES
        self.phase_ms = self.ctx.loop.now_ms
        self.transport.resume_reading()
        return self.arm()

    cdef int drop_streams(self) except -1:
        """Nothing is asked of the frame layer after this: it still knows the streams."""
        cdef ClientHttp2Stream stream = self.first
        while stream is not None:
            stream.close(NGHTTP2_CANCEL)
            stream = self.first
        return 0

    cdef int cut_switched(self) except -1:
        """The process ends: so do WebSockets."""
        cdef ClientHttp2Stream stream = self.first
        cdef ClientHttp2Stream following
        while stream is not None:
            following = stream.next
            if stream.exchange is not None and stream.exchange.switched:
                end_switched(stream.exchange, b"drained")
            stream = following
        return 0

    cdef int destroy(self) except -1:
        """The end: untie and give everything back. Safe to call twice."""
        global connections
        cdef ConnectionOwner owner = self.owner
        if owner is None:
            return 0
        self.owner = None
        self.packer.session = None
        self.touched = None
        self.go_on.connection = None
        self.transport.close()
        self.drop_streams()
        self.ctx.loop.unlink(self)
        self.deadline_ms = 0
        self.block.release()
        connections -= 1
        self.ctx.gauge(FGW_G_CLIENT_ACTIVE, -1)
        self.ctx.loop.count(FGW_C_CLIENT_CONNECTIONS_CLOSED)
        self.ctx.loop.keep(self)  # a method of ours may be on the stack, and one of the frame layer
        owner.on_client_closed(self.place)
        self.place.connection = None
        return 0

    # ---- time

    cdef int arm_by(self, int64_t when) except -1:
        """Look at the deadlines at this time at the latest; 0: there is none."""
        if when == 0 or (self.deadline_ms and self.deadline_ms <= when):
            return 0
        return self.ctx.loop.set_deadline(self, when)

    cdef int arm(self) except -1:
        """File the nearest deadline of the present state."""
        cdef Context ctx = self.ctx
        cdef ClientHttp2Stream stream = self.first
        self.deadline_ms = 0
        if self.goodbye == LINGERING:
            self.arm_by(self.phase_ms + LINGER_MS)
        elif self.goodbye == NOTICE_SENT:
            self.arm_by(self.phase_ms + GOODBYE_MS)
        elif not self.greeted:
            self.arm_by(self.phase_ms + ctx.head_timeout_ms if ctx.head_timeout_ms else 0)
        elif self.streams == 0 and self.goodbye == STAYING:
            self.arm_by(self.phase_ms + ctx.http2_idle_timeout_ms if ctx.http2_idle_timeout_ms else 0)
        if self.goodbye == STAYING:
            self.arm_by(self.expires_ms)
        if self.block_stream and ctx.head_timeout_ms:
            self.arm_by(self.block_ms + ctx.head_timeout_ms)
        if self.transport.queued() and ctx.write_timeout_ms:
            self.arm_by(self.transport.progress_ms + ctx.write_timeout_ms)
        while stream is not None:
            self.arm_by(stream.next_check())
            stream = stream.next
        return 0

    cdef int on_timer(self) except -1:
        cdef Context ctx = self.ctx
        cdef int64_t now = ctx.loop.now_ms
        if self.owner is None:
            return 0
        if self.transport.queued() and ctx.write_timeout_ms and now >= self.transport.progress_ms + ctx.write_timeout_ms:
            ctx.loop.count(FGW_C_CLIENT_TIMEOUTS_WRITE)
            self.transport.reset()
            return self.destroy()
        if self.goodbye == LINGERING:
            if now >= self.phase_ms + LINGER_MS:
                if self.transport.queued() == 0:
                    return self.destroy()
                self.phase_ms = now
            return self.arm()
        if ctx.head_timeout_ms and ((not self.greeted and now >= self.phase_ms + ctx.head_timeout_ms)
                                    or (self.block_stream and now >= self.block_ms + ctx.head_timeout_ms)):
            ctx.loop.count(FGW_C_CLIENT_TIMEOUTS_HEAD)
            return self.condemn(FGW_R_HEAD_TIMEOUT, NGHTTP2_ENHANCE_YOUR_CALM)
        if self.goodbye == NOTICE_SENT and now >= self.phase_ms + GOODBYE_MS:
            self.send_farewell()
        if self.streams:
            self.check_streams(now)
        elif self.goodbye == STAYING and ctx.http2_idle_timeout_ms and now >= self.phase_ms + ctx.http2_idle_timeout_ms:
            ctx.loop.count(FGW_C_CLIENT_TIMEOUTS_IDLE)
            self.part()
        if self.expires_ms and now >= self.expires_ms:
            self.part()
        return self.arm() if self.owner is not None else 0

    cdef int check_streams(self, int64_t now) except -1:
        cdef ClientHttp2Stream stream = self.first
        cdef ClientHttp2Stream following
        while stream is not None:
            following = stream.next
            stream.check_time(now)
            stream = following
        return 0
