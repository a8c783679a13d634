"""proxyProtocol of a DestinationRule: the first bytes of a connection tell the upstream who the client is (PROXY protocol
specification, sections 2.1 and 2.2). Such a connection belongs to one client's connection and is shared with no other."""
import ipaddress
import struct

from fastgw.dataplane.served cimport ClientSide, Served
from fastgw.native.route cimport fgw_img_policy

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
TCP_OF = {4: 0x11, 6: 0x21}


cdef bytes proxy_header_for(Served s):
    """None: the cluster asks for none."""
    cdef const fgw_img_policy *policy = s.image.policy_of(s.cluster)
    cdef ClientSide client = s.client_side()
    cdef char local[64]
    cdef int n
    if policy == NULL or policy.proxy_protocol == 0:
        return None
    n = client.local_address(local)
    return proxy_header(policy.proxy_protocol, client.peer[:client.peer_len], client.peer_port, local[:n])


cdef bytes source_of(Served s):
    """Whose connection it is: address and port of the client. None: anybody's."""
    cdef const fgw_img_policy *policy = s.image.policy_of(s.cluster)
    cdef ClientSide client = s.client_side()
    if policy == NULL or policy.proxy_protocol == 0:
        return None
    return client.peer[:client.peer_len] + b" %d" % client.peer_port


cdef bytes proxy_header(int version, bytes source, int source_port, bytes local):
    """``local``: "1.2.3.4:80", "[::1]:80". What is no address of TCP is told as such."""
    try:
        client = ipaddress.ip_address(source.decode())
        host, _, port = local.decode().rpartition(":")
        own = ipaddress.ip_address(host.strip("[]"))
        own_port = int(port)
    except ValueError:
        return b"PROXY UNKNOWN\r\n" if version == 1 else SIGNATURE + b"\x20\0\0\0"
    if client.version != own.version:
        client, own = as_ipv6(client), as_ipv6(own)
    if version == 1:
        return b"PROXY TCP%d %b %b %d %d\r\n" % (client.version, str(client).encode(), str(own).encode(), source_port, own_port)
    addresses = client.packed + own.packed + struct.pack(">HH", source_port, own_port)
    return SIGNATURE + struct.pack(">BBH", 0x21, TCP_OF[client.version], len(addresses)) + addresses


def as_ipv6(address):
    return address if address.version == 6 else ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)


def header_of(version, source, source_port, local):
    """For tests."""
    return proxy_header(version, source, source_port, local)
