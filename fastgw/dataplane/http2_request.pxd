"""A request head as HTTP/2 has it."""
from fastgw.dataplane.request_head cimport RequestHead
from fastgw.native.nghttp2 cimport nghttp2_nv

cdef nghttp2_nv *request_pairs(RequestHead head, size_t *count) except NULL
