"""Whose connection it is: the address of the socket's far end, or the one that a proxy in front tells."""
from fastgw.dataplane.served cimport ClientSide
from fastgw.native.proxy_proto cimport fgw_proxy_header
from fastgw.native.system cimport sockaddr_storage

cdef int take_socket_address(ClientSide client, const sockaddr_storage *a) noexcept
cdef int take_proxy_header(ClientSide client, const fgw_proxy_header *header) noexcept
