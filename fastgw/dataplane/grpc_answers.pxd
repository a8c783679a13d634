"""Answers of the gateway to gRPC calls."""
from fastgw.dataplane.local_answers cimport EnvoyAnswers


cdef class GrpcAnswers(EnvoyAnswers):
    pass
