"""Socket addresses, and sockets towards endpoints."""
from libc.stdint cimport int64_t

from fastgw.dataplane.served cimport Address
from fastgw.native.route cimport fgw_img_policy
from fastgw.native.system cimport sockaddr_storage, socklen_t

cdef socklen_t fill_address(const Address *a, sockaddr_storage *out) noexcept
cdef int format_address(const sockaddr_storage *a, char *out, int cap) noexcept
cdef int local_text(int fd, char *out) noexcept
cdef int open_socket(const Address *to, bint has_data) noexcept
cdef int notice_death(int fd, int64_t connect_ms) noexcept
cdef int let_pause(int fd) noexcept
cdef int keep_alive(int fd, const fgw_img_policy *policy) noexcept
