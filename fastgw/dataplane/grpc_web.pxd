"""gRPC-Web towards clients, gRPC towards upstreams."""
from libc.stdint cimport uint32_t

from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.steps cimport Translation, Translator
from fastgw.native.base cimport fgw_field
from fastgw.native.grpc cimport fgw_base64, fgw_grpc_text


cdef class GrpcWebTranslator(Translator):
    pass


cdef class GrpcWeb(Translation):
    cdef bint text_request         # base64
    cdef bint text_answer
    cdef fgw_base64 decoder
    cdef fgw_grpc_text encoder
    cdef int begin(self, Exchange x) except -1
    cdef int put(self, const char *p, size_t n) except -1
