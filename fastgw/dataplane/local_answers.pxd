"""Answers of the gateway itself."""
from libc.stdint cimport uint32_t

from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.steps cimport LocalAnswers


cdef class EnvoyAnswers(LocalAnswers):
    cdef int reset(self, Exchange x, int status, uint32_t flags, const char *cause, const char *reason) except -1
