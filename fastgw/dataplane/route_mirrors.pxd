"""Copies of requests for mirrors."""
from libc.stdint cimport uint32_t

from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.steps cimport Mirrors
from fastgw.dataplane.streams cimport ClientStream, Connector


cdef class Nobody(ClientStream):
    """Who gets the answers of mirrors."""
    cdef long alive                # copies under way


cdef class Copy(Exchange):
    """A request that nobody waits for."""


cdef class RouteMirrors(Mirrors):
    cdef Context ctx
    cdef Connector connector
    cdef Nobody nobody
    cdef int send(self, Exchange x, uint32_t cluster) except -1
    cdef int lose(self, Copy copy) except -1
