"""The changes that requests and answers undergo, in their order."""
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.streams cimport ResponseHead

cdef int edit_request(Exchange x) except -1
cdef bint edits_answers(Exchange x) noexcept
cdef int edit_answer(Exchange x, ResponseHead *head, size_t head_bytes) except -1
cdef int translate_answer(Exchange x, ResponseHead *head, bint copied) except -1
