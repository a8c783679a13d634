"""Where libnghttp2's memory comes from."""
from fastgw.native.nghttp2 cimport nghttp2_mem


cdef nghttp2_mem *session_memory(bint *starved) noexcept
cdef size_t session_bytes() noexcept
