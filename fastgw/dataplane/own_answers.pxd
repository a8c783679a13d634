"""Sending an answer of the gateway's own."""
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.streams cimport ResponseHead

cdef int give_answer(Exchange x, ResponseHead *head, size_t head_bytes, const char *body, size_t n) except -1
cdef int give_body(Exchange x) except -1
