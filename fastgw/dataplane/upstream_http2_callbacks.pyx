"""From the frame layer to a connection to an upstream and its streams; exceptions travel through it (nghttp2.pxd)."""
from libc.stdint cimport int32_t, uint8_t, uint32_t

from fastgw.dataplane.http2_session cimport common_callbacks, common_options
from fastgw.dataplane.streams cimport FAULT_PROTOCOL, FAULT_REFUSED, FAULT_RESET
from fastgw.dataplane.upstream_http2 cimport H_CLOSED, STREAMS_ASSUMED, UpstreamHttp2
from fastgw.dataplane.upstream_http2_stream cimport UpstreamHttp2Stream, stream_of
from fastgw.native.base cimport FGW_R_H2_FRAMING
from fastgw.native.http2 cimport FGW_H2_RESPONSE, FGW_H2_TRAILERS
from fastgw.native.nghttp2 cimport (
    NGHTTP2_DATA, NGHTTP2_ERR_CALLBACK_FAILURE, NGHTTP2_FLAG_END_STREAM, NGHTTP2_HCAT_REQUEST, NGHTTP2_HEADERS,
    NGHTTP2_REFUSED_STREAM, nghttp2_frame, nghttp2_on_begin_headers_callback, nghttp2_on_data_chunk_recv_callback,
    nghttp2_on_frame_not_send_callback, nghttp2_on_frame_recv_callback, nghttp2_on_stream_close_callback, nghttp2_option,
    nghttp2_option_set_no_closed_streams, nghttp2_option_set_peer_max_concurrent_streams, nghttp2_session,
    nghttp2_session_callbacks, nghttp2_session_callbacks_set_on_begin_headers_callback,
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback, nghttp2_session_callbacks_set_on_frame_not_send_callback,
    nghttp2_session_callbacks_set_on_frame_recv_callback, nghttp2_session_callbacks_set_on_stream_close_callback,
)

cdef int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) except? -902:
    cdef UpstreamHttp2 c = <UpstreamHttp2>user_data
    cdef UpstreamHttp2Stream s
    if c.state == H_CLOSED or frame.hd.type != NGHTTP2_HEADERS:  # a push, which our SETTINGS do not allow
        return NGHTTP2_ERR_CALLBACK_FAILURE
    s = stream_of(session, frame.hd.stream_id)
    if s is None or s.exchange is None or s.failed:
        return 0
    return c.start_block(frame.hd.stream_id, FGW_H2_TRAILERS if s.headed else FGW_H2_RESPONSE, 0)


cdef int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *p, size_t n,
                       void *user_data) except? -902:
    cdef UpstreamHttp2 c = <UpstreamHttp2>user_data
    cdef UpstreamHttp2Stream s
    if c.state == H_CLOSED:
        return NGHTTP2_ERR_CALLBACK_FAILURE
    s = stream_of(session, stream)
    c.consumed(0, n)
    return 0 if s is None or s.exchange is None or s.failed else s.take_body(<const char *>p, n)


cdef int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) except? -902:
    cdef UpstreamHttp2 c = <UpstreamHttp2>user_data
    if c.state == H_CLOSED:
        return NGHTTP2_ERR_CALLBACK_FAILURE
    if frame.hd.type == NGHTTP2_DATA:
        c.refusal = c.guard.on_content(frame.hd.length - frame.data.padlen, frame.hd.flags & NGHTTP2_FLAG_END_STREAM)
        if c.refusal:
            return NGHTTP2_ERR_CALLBACK_FAILURE
    return c.take_frame(frame)


cdef int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t code, void *user_data) except? -902:
    cdef UpstreamHttp2 c = <UpstreamHttp2>user_data
    cdef UpstreamHttp2Stream s = stream_of(session, stream)
    if s is None or c.state == H_CLOSED:
        return 0
    c.unbind(s)
    s.closed = True
    if s.exchange is None:
        s.retire()
    elif not s.ended and not s.failed:
        s.failed = True
        s.reason = 0
        if s.unsent or code == NGHTTP2_REFUSED_STREAM:
            s.fault = FAULT_REFUSED
        elif s.peer_reset:
            s.fault = FAULT_RESET
        else:
            s.fault, s.reason = FAULT_PROTOCOL, FGW_R_H2_FRAMING
        c.faulty.append(s)
    return 0


cdef int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user_data) except? -902:
    cdef UpstreamHttp2Stream s
    if frame.hd.type == NGHTTP2_HEADERS and frame.headers.cat == NGHTTP2_HCAT_REQUEST:
        s = stream_of(session, frame.hd.stream_id)
        if s is not None:
            s.unsent = True
    return 0


cdef nghttp2_session_callbacks *make_callbacks() except NULL:
    cdef nghttp2_session_callbacks *made = common_callbacks()
    nghttp2_session_callbacks_set_on_begin_headers_callback(made, <nghttp2_on_begin_headers_callback>on_begin_headers)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, <nghttp2_on_data_chunk_recv_callback>on_data_chunk)
    nghttp2_session_callbacks_set_on_frame_recv_callback(made, <nghttp2_on_frame_recv_callback>on_frame_recv)
    nghttp2_session_callbacks_set_on_stream_close_callback(made, <nghttp2_on_stream_close_callback>on_stream_close)
    nghttp2_session_callbacks_set_on_frame_not_send_callback(made, <nghttp2_on_frame_not_send_callback>on_frame_not_send)
    return made


cdef nghttp2_option *make_options() except NULL:
    cdef nghttp2_option *made = common_options()
    nghttp2_option_set_peer_max_concurrent_streams(made, STREAMS_ASSUMED)
    nghttp2_option_set_no_closed_streams(made, 1)
    return made


upstream_callbacks = make_callbacks()
upstream_options = make_options()
