"""From the frame layer to a client's connection and its streams; exceptions travel through it (nghttp2.pxd)."""
from libc.stdint cimport int32_t, uint8_t, uint32_t

from fastgw.dataplane.client_http2 cimport ClientHttp2
from fastgw.dataplane.client_http2_stream cimport ClientHttp2Stream
from fastgw.dataplane.http2_session cimport common_callbacks, common_options
from fastgw.native.base cimport FGW_OK, FGW_R_H2_FRAMING
from fastgw.native.http2 cimport FGW_H2_EXTENDED_CONNECT, FGW_H2_REQUEST, FGW_H2_TRAILERS
from fastgw.native.nghttp2 cimport (
    NGHTTP2_FLAG_NONE, NGHTTP2_HCAT_REQUEST, NGHTTP2_HEADERS, NGHTTP2_INTERNAL_ERROR, fgw_lift_library_limits, nghttp2_frame,
    nghttp2_frame_hd, nghttp2_on_begin_frame_callback, nghttp2_on_begin_headers_callback, nghttp2_on_data_chunk_recv_callback,
    nghttp2_on_frame_not_send_callback, nghttp2_on_frame_recv_callback, nghttp2_on_frame_send_callback,
    nghttp2_on_stream_close_callback, nghttp2_option, nghttp2_session, nghttp2_session_callbacks,
    nghttp2_session_callbacks_set_on_begin_frame_callback, nghttp2_session_callbacks_set_on_begin_headers_callback,
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback, nghttp2_session_callbacks_set_on_frame_not_send_callback,
    nghttp2_session_callbacks_set_on_frame_recv_callback, nghttp2_session_callbacks_set_on_frame_send_callback,
    nghttp2_session_callbacks_set_on_stream_close_callback, nghttp2_session_get_stream_user_data, nghttp2_submit_rst_stream,
)

cdef enum:
    REQUESTS_PER_TURN = 32       # requirement F16


cdef int begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user_data) except? -902:
    cdef ClientHttp2 c = <ClientHttp2>user_data
    cdef int reason = FGW_OK
    if hd.type == NGHTTP2_HEADERS and 0 < <uint32_t>hd.stream_id <= c.settled_stream() and hd.stream_id & 1:
        # on a stream that is closed: the library lets it pass
        if nghttp2_session_get_stream_user_data(session, hd.stream_id) == NULL:
            reason = FGW_R_H2_FRAMING
    return c.judge(reason)


cdef int begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) except? -902:
    cdef ClientHttp2 c = <ClientHttp2>user_data
    c.block_ms = c.ctx.loop.now_ms
    if frame.headers.cat != NGHTTP2_HCAT_REQUEST:
        c.start_block(frame.hd.stream_id, FGW_H2_TRAILERS, 0)
        return 0
    c.last_stream = frame.hd.stream_id
    if c.turn != c.ctx.loop.turns:
        c.turn = c.ctx.loop.turns
        c.turn_requests = 0
    c.turn_requests += 1
    c.pause_once = c.turn_requests > REQUESTS_PER_TURN
    c.start_block(frame.hd.stream_id, FGW_H2_REQUEST, FGW_H2_EXTENDED_CONNECT if c.ctx.http2_websockets else 0)
    return 0


cdef int frame_received(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) except? -902:
    if frame.hd.type == NGHTTP2_HEADERS:
        return (<ClientHttp2>user_data).on_head(frame)
    return (<ClientHttp2>user_data).on_frame(frame)


cdef int chunk_received(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                        void *user_data) except? -902:
    cdef void *found = nghttp2_session_get_stream_user_data(session, id)
    cdef ClientHttp2Stream stream
    if found != NULL:
        stream = <ClientHttp2Stream>found
        return stream.on_chunk(<const char *>p, n)
    return (<ClientHttp2>user_data).consumed(0, n)


cdef int stream_closed(nghttp2_session *session, int32_t id, uint32_t code, void *user_data) except? -902:
    cdef void *found = nghttp2_session_get_stream_user_data(session, id)
    cdef ClientHttp2Stream stream
    if found != NULL:
        stream = <ClientHttp2Stream>found  # kept alive by this: the connection lets it go
        stream.close(code)
    return 0


cdef int frame_made(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) except? -902:
    return (<ClientHttp2>user_data).on_made(frame)


cdef int frame_not_made(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user_data) except? -902:
    """A header block over the library's own limit: the stream cannot go on."""
    if frame.hd.type == NGHTTP2_HEADERS:
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame.hd.stream_id, NGHTTP2_INTERNAL_ERROR)
    return 0


cdef nghttp2_session_callbacks *make_callbacks() except NULL:
    cdef nghttp2_session_callbacks *made = common_callbacks()
    nghttp2_session_callbacks_set_on_begin_frame_callback(made, <nghttp2_on_begin_frame_callback>begin_frame)
    nghttp2_session_callbacks_set_on_begin_headers_callback(made, <nghttp2_on_begin_headers_callback>begin_headers)
    nghttp2_session_callbacks_set_on_frame_recv_callback(made, <nghttp2_on_frame_recv_callback>frame_received)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, <nghttp2_on_data_chunk_recv_callback>chunk_received)
    nghttp2_session_callbacks_set_on_stream_close_callback(made, <nghttp2_on_stream_close_callback>stream_closed)
    nghttp2_session_callbacks_set_on_frame_send_callback(made, <nghttp2_on_frame_send_callback>frame_made)
    nghttp2_session_callbacks_set_on_frame_not_send_callback(made, <nghttp2_on_frame_not_send_callback>frame_not_made)
    return made


cdef nghttp2_option *make_options() except NULL:
    cdef nghttp2_option *made = common_options()
    fgw_lift_library_limits(made)
    return made


client_callbacks = make_callbacks()
client_options = make_options()
