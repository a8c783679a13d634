"""The client's address in the forms that others need: text for fields and logs, a number for comparisons.

What a PROXY header tells takes the place of what the socket has, everywhere (K17) but where the connection's other end itself is
asked for. It is told once, before anything else.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport strlen

from fastgw.dataplane.headers cimport write_decimal
from fastgw.dataplane.served cimport ClientSide
from fastgw.native.cidr cimport fgw_ip, fgw_ip_is_v4, fgw_ip_of_v4, fgw_ip_of_v6
from fastgw.native.proxy_proto cimport fgw_proxy_header
from fastgw.native.system cimport AF_INET, AF_INET6, inet_ntop, ntohs, sockaddr_in, sockaddr_in6, sockaddr_storage

cdef enum:
    TEXT_CAP = 48              # of an address


cdef fgw_ip socket_ip(const sockaddr_storage *a) noexcept:
    """A unix socket's peer is this machine."""
    cdef uint8_t[4] loopback = [127, 0, 0, 1]
    if a.ss_family == AF_INET:
        return fgw_ip_of_v4(<const uint8_t *>&(<const sockaddr_in *>a).sin_addr)
    if a.ss_family == AF_INET6:
        return fgw_ip_of_v6(<const uint8_t *>&(<const sockaddr_in6 *>a).sin6_addr)
    return fgw_ip_of_v4(loopback)


cdef int take_socket_address(ClientSide client, const sockaddr_storage *a) noexcept:
    client.ip = socket_ip(a)
    client.peer_len = write_ip(client.peer, client.ip)
    if a.ss_family == AF_INET:
        client.peer_port = ntohs((<const sockaddr_in *>a).sin_port)
    elif a.ss_family == AF_INET6:
        client.peer_port = ntohs((<const sockaddr_in6 *>a).sin6_port)
    client.has_port = client.peer_port != 0
    client.direct_ip, client.direct_port = client.ip, client.peer_port
    return 0


cdef int take_proxy_header(ClientSide client, const fgw_proxy_header *header) noexcept:
    """Nothing changes when it tells no address: the proxy speaks for itself."""
    if header.tells:
        client.ip = header.source
        client.peer_port = header.source_port
        client.has_port = True
        client.peer_len = write_ip(client.peer, client.ip)
        client.local_len = write_local(client.local, header)
    return 0


cdef uint32_t write_ip(char *out, fgw_ip ip) noexcept:
    """Text of an address and a NUL behind it, at most TEXT_CAP bytes; its length."""
    cdef uint8_t[16] raw
    cdef int i
    for i in range(8):
        raw[i] = <uint8_t>(ip.high >> (56 - 8 * i))
        raw[8 + i] = <uint8_t>(ip.low >> (56 - 8 * i))
    if fgw_ip_is_v4(ip):
        inet_ntop(AF_INET, raw + 12, out, TEXT_CAP)
    else:
        inet_ntop(AF_INET6, raw, out, TEXT_CAP)
    return <uint32_t>strlen(out)


cdef uint32_t write_local(char *out, const fgw_proxy_header *header) noexcept:
    """The address that the client has called, "1.2.3.4:80" or "[::1]:80"; its length."""
    cdef bint six = not fgw_ip_is_v4(header.destination)
    cdef uint32_t n = six + write_ip(out + six, header.destination)
    if six:
        out[0] = 91
        out[n] = 93
        n += 1
    out[n] = 58
    return n + 1 + <uint32_t>write_decimal(out + n + 1, header.destination_port)
