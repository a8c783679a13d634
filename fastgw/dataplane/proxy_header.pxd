"""The PROXY header that begins a connection to an upstream."""
from fastgw.dataplane.served cimport ClientSide, Served

cdef bytes proxy_header_for(Served s)
cdef bytes source_of(Served s)
cdef bytes proxy_header(int version, bytes source, int source_port, bytes local)
