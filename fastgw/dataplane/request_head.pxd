"""A request head in its arena."""
from libc.stdint cimport uint32_t

from fastgw.dataplane.context cimport Context
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.headers cimport RequestMarks
from fastgw.native.base cimport fgw_field
from fastgw.native.cidr cimport fgw_ip
from fastgw.native.http1 cimport fgw_request
from fastgw.native.route cimport fgw_route_request


cdef class RequestHead(FieldTable):
    # borrowed
    cdef Context ctx
    cdef const char *peer          # text of the client's address
    cdef uint32_t peer_len
    cdef bytes client_cert         # the value of x-forwarded-client-cert, None without
    # state
    cdef bint present              # a head was parsed
    cdef bint secure               # the client's side is TLS, as far as we may believe
    cdef fgw_request req
    cdef const char *path          # normalised
    cdef uint32_t path_len
    cdef uint32_t raw_path_len     # with '?' and query, contiguous after path
    cdef uint32_t request_id_at    # offset of x-request-id's 36 bytes, 0: none
    cdef uint32_t attempts_at      # offset of x-envoy-attempt-count's digit
    cdef char remote[64]           # the trusted client address
    cdef uint32_t remote_len
    cdef fgw_ip remote_ip          # the same
    cdef bint believing            # the peer is a proxy whose fields we believe
    cdef bint forwarded            # remote is from X-Forwarded-For

    cdef int reset(self, Context ctx, const char *peer, uint32_t peer_len, fgw_ip ip, bint secure) except -1
    cdef int take(self, const char *p, const fgw_request *r, const fgw_field *fields) except -1
    cdef int count_leniencies(self, uint32_t used) except -1
    cdef int copy(self, RequestHead other) except -1
    cdef int normalize(self) except -2
    cdef int sanitise(self) except -1
    cdef int describe(self, fgw_route_request *q) except -1
    cdef int set_attempts(self, int attempts) except -1
    cdef int rewrite_authority(self, const char *p, size_t n) except -1
    cdef int rewrite_path(self, const char *p, size_t n, size_t path_len) except -1
    cdef int add_own_fields(self, const RequestMarks *marks) except -1
    cdef bint referer_is_url(self) noexcept
    cdef int add_fixed_fields(self) except -1
    cdef int find_client(self, const char *forwarded, size_t n) except -1
    cdef int believe_proto(self) except -1


cdef bint is_address(const char *p, size_t n) noexcept
