"""What the frame layer calls for connections of clients; tables for all of them, never freed."""
from fastgw.native.nghttp2 cimport nghttp2_option, nghttp2_session_callbacks

cdef nghttp2_session_callbacks *client_callbacks
cdef nghttp2_option *client_options
