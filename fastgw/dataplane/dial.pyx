"""Socket addresses as structs and as text, and sockets on their way to an endpoint."""
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy, memset, strlen

from fastgw.dataplane.headers cimport write_decimal
from fastgw.dataplane.served cimport Address
from fastgw.native.route cimport FGW_FAMILY_IPV4, FGW_FAMILY_IPV6, FGW_FAMILY_UNIX, fgw_img_policy
from fastgw.native.system cimport (
    AF_INET, AF_INET6, AF_UNIX, EINPROGRESS, IPPROTO_TCP, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SO_KEEPALIVE, SOL_SOCKET,
    TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_NODELAY, TCP_QUICKACK, TCP_USER_TIMEOUT,
    close, connect, errno, getsockname, htons, inet_ntop, ntohs, setsockopt, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage,
    sockaddr_un, socket, socklen_t,
)
from fastgw.native.text cimport fgw_write_ipv4_port

cdef enum:  # requirement H15
    UNANSWERED_MS = 30000     # that the other machine takes to confirm what it was sent, or to read on
    SILENT_S = 60             # then it is asked whether it is still there
    ASKED_EVERY_S = 15


cdef socklen_t fill_address(const Address *a, sockaddr_storage *out) noexcept:
    """The socket address; 0 when the family is unknown or a path too long."""
    memset(out, 0, sizeof(sockaddr_storage))
    if a.family == FGW_FAMILY_IPV4:
        (<sockaddr_in *>out).sin_family = AF_INET
        (<sockaddr_in *>out).sin_port = htons(a.port)
        memcpy(&(<sockaddr_in *>out).sin_addr, a.ip, 4)
        return sizeof(sockaddr_in)
    if a.family == FGW_FAMILY_IPV6:
        (<sockaddr_in6 *>out).sin6_family = AF_INET6
        (<sockaddr_in6 *>out).sin6_port = htons(a.port)
        memcpy(&(<sockaddr_in6 *>out).sin6_addr, a.ip, 16)
        return sizeof(sockaddr_in6)
    if a.family == FGW_FAMILY_UNIX and 0 < a.path_len < 108:
        (<sockaddr_un *>out).sun_family = AF_UNIX
        memcpy((<sockaddr_un *>out).sun_path, a.path, a.path_len)
        if (<sockaddr_un *>out).sun_path[0] == 64:  # '@': the abstract name space
            (<sockaddr_un *>out).sun_path[0] = 0
        return <socklen_t>(sizeof(unsigned short) + a.path_len)
    return 0


cdef int format_address(const sockaddr_storage *a, char *out, int cap) noexcept:
    """"1.2.3.4:80", "[::1]:80" or "" into out; its length."""
    cdef size_t n
    if a.ss_family == AF_INET:
        return <int>fgw_write_ipv4_port(out, <const uint8_t *>&(<sockaddr_in *>a).sin_addr, ntohs((<sockaddr_in *>a).sin_port))
    if a.ss_family == AF_INET6:
        out[0] = 91
        inet_ntop(AF_INET6, &(<sockaddr_in6 *>a).sin6_addr, out + 1, cap - 10)
        n = strlen(out)
        out[n] = 93
        out[n + 1] = 58
        return <int>(n + 2 + write_decimal(out + n + 2, ntohs((<sockaddr_in6 *>a).sin6_port)))
    return 0


cdef int local_text(int fd, char *out) noexcept:
    """Our address on a connection into out (64 bytes); its length, 0 when there is none."""
    cdef sockaddr_storage a
    cdef socklen_t n = sizeof(a)
    if fd < 0 or getsockname(fd, <sockaddr *>&a, &n) < 0:
        return 0
    return format_address(&a, out, 64)


cdef int notice_death(int fd, int64_t connect_ms) noexcept:
    """A machine that is gone without a word ends the connection in about a minute, instead of a quarter of an hour, or never while
    nothing is sent. ``connect_ms``: the time for connecting is not cut short."""
    cdef int one = 1, unanswered = <int>min(max(connect_ms, UNANSWERED_MS), 0x7fffffff), idle = SILENT_S, every = ASKED_EVERY_S
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered, sizeof(unanswered))
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one))
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle))
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every))
    return 0


cdef int let_pause(int fd) noexcept:
    """One that is relayed may leave unread what it was sent for as long as it likes."""
    cdef int zero = 0
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &zero, sizeof(zero))
    return 0


cdef int keep_alive(int fd, const fgw_img_policy *policy) noexcept:
    """tcpKeepalive; what the policy does not say is as the system has it."""
    cdef int one = 1, value
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one))
    if policy.keepalive_time_s:
        value = <int>policy.keepalive_time_s
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &value, sizeof(value))
    if policy.keepalive_interval_s:
        value = <int>policy.keepalive_interval_s
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &value, sizeof(value))
    if policy.keepalive_probes:
        value = <int>policy.keepalive_probes
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &value, sizeof(value))
    return 0


cdef int open_socket(const Address *to, bint has_data) noexcept:
    """A socket whose connect() is under way, or -1. ``has_data``: bytes will be sent as soon as it is connected, so the last packet
    of the TCP handshake may wait for them."""
    cdef sockaddr_storage a
    cdef socklen_t n = fill_address(to, &a)
    cdef int fd, one = 1, zero = 0
    if n == 0:
        return -1
    fd = socket(a.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0:
        return -1
    if a.ss_family != AF_UNIX:
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
        if has_data:
            setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &zero, sizeof(zero))
    if connect(fd, <sockaddr *>&a, n) < 0 and errno != EINPROGRESS:
        close(fd)
        return -1
    return fd
