"""What the frame layer calls for connections to upstreams; tables for all of them, never freed."""
from fastgw.native.nghttp2 cimport nghttp2_option, nghttp2_session_callbacks

cdef nghttp2_session_callbacks *upstream_callbacks
cdef nghttp2_option *upstream_options
