"""Whose connection it is: the address of the socket's far end, or the one that a proxy in front tells."""
from libc.stdint cimport uint32_t

from fastgw.dataplane.served cimport ClientSide
from fastgw.native.cidr cimport fgw_ip
from fastgw.native.proxy_proto cimport fgw_proxy_header
from fastgw.native.system cimport sockaddr_storage

cdef fgw_ip socket_ip(const sockaddr_storage *a) noexcept
cdef int take_socket_address(ClientSide client, const sockaddr_storage *a) noexcept
cdef int take_proxy_header(ClientSide client, const fgw_proxy_header *header) noexcept
cdef uint32_t write_ip(char *out, fgw_ip ip) noexcept
