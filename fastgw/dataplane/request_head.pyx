"""The head of one request as the gateway holds it: a copy of its bytes, what was parsed of them, and the fields of our own.

Everything lies in one arena and is described by offsets, so that routing, sending, sending again and logging need no second
parse and no Python object. A codec that decodes fields instead of parsing them fills the same arena.
"""
from libc.stdint cimport uint32_t
from libc.string cimport memcmp, memcpy, memset

from fastgw.dataplane.client_address cimport write_ip
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.headers cimport RequestMarks, drop_all, is_absolute_url, join_values, mark_request, place, write_decimal
from fastgw.native.base cimport (
    FGW_HDR_COOKIE, FGW_HDR_REFERER, FGW_HDR_X_ENVOY_ATTEMPT_COUNT, FGW_HDR_X_ENVOY_EXTERNAL_ADDRESS,
    FGW_HDR_X_FORWARDED_CLIENT_CERT, FGW_HDR_X_FORWARDED_FOR, FGW_HDR_X_FORWARDED_PROTO, FGW_HDR_X_REQUEST_ID, FGW_R_UNDERSCORE,
    fgw_field,
)
from fastgw.native.cidr cimport fgw_ip, fgw_ip_parse
from fastgw.native.forwarded cimport fgw_forwarded_client
from fastgw.native.http1 cimport (
    FGW_LENIENT_ABSOLUTE_HOST, FGW_LENIENT_EQUAL_LENGTHS, FGW_LENIENT_FRAGMENT, FGW_LENIENT_LF_IN_HEAD, FGW_MSG_ASTERISK_FORM,
    FGW_MSG_PATH_SPECIAL, fgw_path_is_normal, fgw_path_normalize, fgw_request,
)
from fastgw.native.route cimport fgw_route_request
from fastgw.native.state cimport (
    FGW_C_LENIENT_ABSOLUTE_HOST, FGW_C_LENIENT_EQUAL_LENGTHS, FGW_C_LENIENT_FRAGMENT, FGW_C_LENIENT_LF_IN_HEAD,
    FGW_C_UNDERSCORE_FIELDS_DROPPED,
)

cdef enum:
    OWN_FIELDS = 12              # fields the gateway may add to a request
    OWN_BYTES = 1024             # bytes of their values, without what is copied from the head

# names of the fixed own fields (17 + 24 + 12 + 21 bytes, then padding up to 83) and the constant values
cdef bytes FIXED_TEXT = b"x-forwarded-protox-envoy-external-addressx-request-idx-envoy-attempt-count".ljust(83) + b"https1"
cdef const char *FIXED = FIXED_TEXT
cdef enum:
    FIXED_BYTES = 89


cdef class RequestHead(FieldTable):
    cdef int reset(self, Context ctx, const char *peer, uint32_t peer_len, fgw_ip ip, bint secure) except -1:
        """No request yet, from a client with this address; secure: over TLS."""
        self.ctx = ctx
        self.peer = peer
        self.peer_len = peer_len
        self.client_cert = None
        self.present = False
        self.secure = secure
        self.path = NULL
        self.path_len = self.raw_path_len = 0
        self.field_count = 0
        self.request_id_at = 0
        self.remote_len = peer_len
        memcpy(self.remote, peer, peer_len)
        self.remote_ip = ip
        self.forwarded = False
        memset(&self.req, 0, sizeof(self.req))
        self.req.minor = 1
        return 0

    cdef int take(self, const char *p, const fgw_request *r, const fgw_field *fields) except -1:
        """The head's bytes, with room for our own values and a normalised path."""
        cdef size_t extra = r.head_len + OWN_BYTES
        if self.client_cert is not None:
            extra += <size_t>len(self.client_cert)
        self.load(p, r.head_len, fields, r.field_count, extra, OWN_FIELDS)
        self.req = r[0]
        self.present = True
        return 0

    cdef int count_leniencies(self, uint32_t used) except -1:
        """What the parser has let pass (enum fgw_leniency)."""
        if used & FGW_LENIENT_LF_IN_HEAD:
            self.ctx.loop.count(FGW_C_LENIENT_LF_IN_HEAD)
        if used & FGW_LENIENT_FRAGMENT:
            self.ctx.loop.count(FGW_C_LENIENT_FRAGMENT)
        if used & FGW_LENIENT_EQUAL_LENGTHS:
            self.ctx.loop.count(FGW_C_LENIENT_EQUAL_LENGTHS)
        if used & FGW_LENIENT_ABSOLUTE_HOST:
            self.ctx.loop.count(FGW_C_LENIENT_ABSOLUTE_HOST)
        return 0

    cdef int copy(self, RequestHead other) except -1:
        """The same head, with an arena of its own; nothing of the client is referred to."""
        self.reset(other.ctx, other.remote, other.remote_len, other.remote_ip, other.secure)
        self.peer, self.peer_len = NULL, 0
        self.load(other.base, other.extra_at, other.fields, other.field_count, 256, 4)
        self.req = other.req
        self.present = other.present
        self.path = self.base + (other.path - other.base)
        self.path_len, self.raw_path_len = other.path_len, other.raw_path_len
        self.request_id_at, self.attempts_at = other.request_id_at, other.attempts_at
        return 0

    cdef int normalize(self) except -2:
        """Set path and raw_path (contiguous: path, '?', query). Returns 0 or an fgw_reason."""
        cdef const char *path = self.base + self.req.path.off
        cdef size_t n = self.req.path.len
        cdef char *to
        cdef long length
        if self.req.flags & FGW_MSG_ASTERISK_FORM or (n and (self.ctx.path_mode == 0 or (
                self.ctx.path_mode == 1 and (not self.req.flags & FGW_MSG_PATH_SPECIAL or fgw_path_is_normal(path, n))))):
            self.path = path
            self.path_len = <uint32_t>n
            self.raw_path_len = <uint32_t>(n + 1 + self.req.query.len) if self.req.has_query else <uint32_t>n
            return 0
        to = self.base + self.extra_at
        length = fgw_path_normalize(path, n, self.ctx.path_mode if self.ctx.path_mode else 1, to, self.extra_end - self.extra_at)
        if length < 0:
            return <int>-length
        self.path = to
        self.path_len = <uint32_t>length
        if self.req.has_query:
            to[length] = 63  # '?'
            memcpy(to + length + 1, self.base + self.req.query.off, self.req.query.len)
            length += 1 + self.req.query.len
        self.raw_path_len = <uint32_t>length
        self.extra_at += <size_t>length
        return 0

    cdef int sanitise(self) except -1:
        """Before routing (requirement C2): no rule may match what a client only pretends to be. 0, or the fgw_reason to refuse."""
        cdef RequestMarks marks = mark_request(self.fields, self.field_count, self.ctx.underscores)
        if marks.rejected:
            return FGW_R_UNDERSCORE
        if marks.underscores:
            self.ctx.loop.count_add(FGW_C_UNDERSCORE_FIELDS_DROPPED, marks.underscores)
        self.believing = self.ctx.believes(self.remote_ip)
        if self.believing:
            self.believe_proto()
        self.add_own_fields(&marks)
        return 0

    cdef int describe(self, fgw_route_request *q) except -1:
        """For the matcher; pointers into the arena."""
        q.base = self.base
        q.fields = self.fields
        q.field_count = self.field_count
        q.host = self.base + self.req.host.off
        q.host_len = self.req.host.len
        q.authority = self.base + self.req.authority.off
        q.authority_len = self.req.authority.len
        q.path = self.path
        q.path_len = self.path_len
        q.raw_path = self.path
        q.raw_path_len = self.raw_path_len
        q.query = self.base + self.req.query.off
        q.query_len = self.req.query.len if self.req.has_query else 0
        q.method = self.base + self.req.method.off
        q.method_len = self.req.method.len
        q.scheme = b"https"
        q.scheme_len = 5 if self.secure else 4
        return 0

    cdef int add_own_fields(self, const RequestMarks *marks) except -1:
        """What the gateway says to the upstream (K13, K14, C3-C7). Values are built in the arena's own part."""
        cdef char *to = self.base + self.extra_at
        cdef size_t n
        cdef uint32_t count = self.field_count
        if marks.cookies > 1:
            n = join_values(to, self.base, self.fields, count, FGW_HDR_COOKIE, b"; ", 2)
            drop_all(self.fields, count, FGW_HDR_COOKIE)
            self.extra_at += n
            self.add_field(FGW_HDR_COOKIE, b"cookie", 6, to, n)
        if marks.referers > 1 or (marks.referers and not self.referer_is_url()):  # K11
            drop_all(self.fields, count, FGW_HDR_REFERER)
        to = self.base + self.extra_at
        n = 0
        if marks.forwarded_for:
            n = join_values(to, self.base, self.fields, count, FGW_HDR_X_FORWARDED_FOR, b",", 1)
            if self.believing:
                self.find_client(to, n)
            if n:
                to[n] = 44  # ','
                n += 1
        memcpy(to + n, self.peer, self.peer_len)
        n += self.peer_len
        self.extra_at += n
        self.add_field(FGW_HDR_X_FORWARDED_FOR, b"x-forwarded-for", 15, to, n)
        if self.client_cert is not None:  # L1: what the client says of it is dropped
            self.add_field(FGW_HDR_X_FORWARDED_CLIENT_CERT, b"x-forwarded-client-cert", 23, <const char *>self.client_cert,
                           <size_t>len(self.client_cert))
        return self.add_fixed_fields()

    cdef bint referer_is_url(self) noexcept:
        cdef const fgw_field *f = self.find(FGW_HDR_REFERER, b"referer", 7)
        return f != NULL and is_absolute_url(self.base + f.value_off, f.value_len)

    cdef int add_fixed_fields(self) except -1:
        """The fields that every request gets: their names and constant values lie in one block, copied at once."""
        cdef size_t at = self.extra_at
        cdef fgw_field *f = &self.fields[self.field_count]
        if self.field_count + 4 > self.field_cap or at + FIXED_BYTES + 64 + 36 > self.extra_end:
            raise OverflowError("no room for own header fields")
        memcpy(self.base + at, FIXED, FIXED_BYTES)
        place(&f[0], FGW_HDR_X_FORWARDED_PROTO, at, 17, at + 83, 5 if self.secure else 4)
        place(&f[1], FGW_HDR_X_ENVOY_EXTERNAL_ADDRESS, at + 17, 24, at + FIXED_BYTES, self.remote_len)
        memcpy(self.base + at + FIXED_BYTES, self.remote, self.remote_len)
        place(&f[2], FGW_HDR_X_REQUEST_ID, at + 41, 12, at + FIXED_BYTES + self.remote_len, 36)
        self.ctx.uuid4(self.base + at + FIXED_BYTES + self.remote_len)
        self.request_id_at = <uint32_t>(at + FIXED_BYTES + self.remote_len)
        place(&f[3], FGW_HDR_X_ENVOY_ATTEMPT_COUNT, at + 53, 21, at + 88, 1)
        self.attempts_at = <uint32_t>(at + 88)
        self.field_count += 4
        self.extra_at = at + FIXED_BYTES + self.remote_len + 36
        return 0

    cdef int find_client(self, const char *forwarded, size_t n) except -1:
        """Whom a trusted peer speaks for, by what it has put into X-Forwarded-For; nothing usable: for itself."""
        if fgw_forwarded_client(forwarded, n, <uint32_t>self.ctx.trusted_hops, self.ctx.trusted, &self.remote_ip):
            self.remote_len = write_ip(self.remote, self.remote_ip)
            self.forwarded = True
        return 0

    cdef int believe_proto(self) except -1:
        cdef uint32_t i
        for i in range(self.field_count):
            if self.fields[i].id == FGW_HDR_X_FORWARDED_PROTO:
                self.secure = self.fields[i].value_len == 5 and memcmp(self.base + self.fields[i].value_off, b"https", 5) == 0
        return 0

    cdef int moved(self, const char *old) except -1:
        self.path = self.base + (self.path - old)
        return 0

    cdef int rewrite_authority(self, const char *p, size_t n) except -1:
        """What the upstream (and the log, as Envoy's) sees as the host; routing has been done (K7, M15)."""
        self.make_room(n)
        memcpy(self.base + self.extra_at, p, n)
        self.req.authority.off, self.req.authority.len = <uint32_t>self.extra_at, <uint32_t>n
        self.extra_at += n
        return 0

    cdef int rewrite_path(self, const char *p, size_t n, size_t path_len) except -1:
        """What the upstream sees as path (of path_len bytes), '?' and query; the log goes on showing the client's."""
        self.make_room(n)
        memcpy(self.base + self.extra_at, p, n)
        self.path, self.path_len, self.raw_path_len = self.base + self.extra_at, <uint32_t>path_len, <uint32_t>n
        self.extra_at += n
        return 0

    cdef int set_attempts(self, int attempts) except -1:
        """In x-envoy-attempt-count, where one digit lies."""
        cdef char text[24]
        if attempts < 10:
            self.base[self.attempts_at] = <char>(48 + attempts)
            return 0
        self.remove(FGW_HDR_X_ENVOY_ATTEMPT_COUNT, b"x-envoy-attempt-count", 21)
        return self.add_field(FGW_HDR_X_ENVOY_ATTEMPT_COUNT, b"x-envoy-attempt-count", 21, text,
                              write_decimal(text, <unsigned long long>attempts))


cdef bint is_address(const char *p, size_t n) noexcept:
    """IPv4 or IPv6 text."""
    cdef fgw_ip ip
    return fgw_ip_parse(p, n, &ip)
