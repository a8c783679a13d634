"""Values of a request and its connection, as the access log and edited header fields show them.

A value is written by the piece of a format that asks for it. Bytes from outside are escaped in logs, so that one request is one
line whatever a client sends; in a header field they stand as they are, without control characters.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, strlen
from libc.time cimport gmtime_r, strftime, time_t

import cython

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.certificate_texts cimport CertificateTexts
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.request_head cimport RequestHead
from fastgw.dataplane.served cimport Address, ClientSide, Served
from fastgw.dataplane.tls_facts cimport TlsFacts
from fastgw.dataplane.tunnel cimport Tunnel
from fastgw.native.base cimport fgw_field, fgw_reason_name, fgw_span
from fastgw.native.grpc cimport FGW_GRPC_NOT, fgw_grpc_status_name, fgw_grpc_status_of_http
from fastgw.native.route cimport (
    FGW_FAMILY_IPV4, FGW_FAMILY_UNIX, FGW_NONE, FGW_VALUE_ATTEMPTS, FGW_VALUE_AUTHORITY, FGW_VALUE_BYTES_RECEIVED,
    FGW_VALUE_BYTES_SENT, FGW_VALUE_CODE, FGW_VALUE_DETAILS, FGW_VALUE_DOWNSTREAM_LOCAL_ADDRESS,
    FGW_VALUE_DOWNSTREAM_REMOTE_ADDRESS, FGW_VALUE_DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT, FGW_VALUE_DOWNSTREAM_REMOTE_PORT,
    FGW_VALUE_DURATION, FGW_VALUE_FLAGS, FGW_VALUE_GRPC_STATUS, FGW_VALUE_GRPC_STATUS_NUMBER, FGW_VALUE_LISTENER,
    FGW_VALUE_LOCAL_DNS_SAN, FGW_VALUE_LOCAL_SUBJECT, FGW_VALUE_LOCAL_URI_SAN, FGW_VALUE_METHOD, FGW_VALUE_PATH,
    FGW_VALUE_PEER_CERT, FGW_VALUE_PEER_CERT_V_START, FGW_VALUE_PEER_DNS_SAN, FGW_VALUE_PEER_FINGERPRINT_1,
    FGW_VALUE_PEER_FINGERPRINT_256, FGW_VALUE_PEER_ISSUER, FGW_VALUE_PEER_SERIAL, FGW_VALUE_PEER_SUBJECT, FGW_VALUE_PEER_URI_SAN,
    FGW_VALUE_PROTOCOL, FGW_VALUE_REJECT_REASON, FGW_VALUE_REQUESTED_SERVER_NAME, FGW_VALUE_REQUEST_HEADER, FGW_VALUE_REQUEST_ID,
    FGW_VALUE_RESPONSE_HEADER, FGW_VALUE_ROUTE_NAME, FGW_VALUE_SCHEME, FGW_VALUE_START_TIME, FGW_VALUE_TERMINATION_DETAILS,
    FGW_VALUE_TEXT, FGW_VALUE_TLS_CIPHER, FGW_VALUE_TLS_SESSION_ID, FGW_VALUE_TLS_VERSION, FGW_VALUE_TRANSPORT_FAILURE,
    FGW_VALUE_UPSTREAM_CLUSTER, FGW_VALUE_UPSTREAM_HOST, FGW_VALUE_UPSTREAM_LOCAL_ADDRESS, FGW_VALUE_UPSTREAM_SERVICE_TIME,
    FGW_VALUE_VIRTUAL_SERVICE, fgw_img_origin,
)
from fastgw.native.state cimport (
    FGW_F_DC, FGW_F_DI, FGW_F_DPE, FGW_F_FI, FGW_F_NC, FGW_F_NR, FGW_F_OM, FGW_F_SI, FGW_F_UC, FGW_F_UF, FGW_F_UH, FGW_F_UO,
    FGW_F_UPE, FGW_F_UR, FGW_F_URX, FGW_F_UT,
)
from fastgw.native.system cimport AF_INET6, inet_ntop
from fastgw.native.text cimport (
    FGW_DECIMAL_MAX, FGW_ESCAPED_JSON_MAX, fgw_escape_json, fgw_escape_log, fgw_write_decimal, fgw_write_fraction,
    fgw_write_ipv4_port,
)

cdef struct FlagName:
    uint32_t bit
    const char *name

cdef FlagName[16] FLAG_NAMES = [
    FlagName(FGW_F_UH, b"UH"), FlagName(FGW_F_UF, b"UF"), FlagName(FGW_F_UO, b"UO"), FlagName(FGW_F_NR, b"NR"),
    FlagName(FGW_F_URX, b"URX"), FlagName(FGW_F_NC, b"NC"), FlagName(FGW_F_UT, b"UT"), FlagName(FGW_F_DC, b"DC"),
    FlagName(FGW_F_UR, b"UR"), FlagName(FGW_F_UC, b"UC"), FlagName(FGW_F_SI, b"SI"), FlagName(FGW_F_DPE, b"DPE"),
    FlagName(FGW_F_UPE, b"UPE"), FlagName(FGW_F_DI, b"DI"), FlagName(FGW_F_FI, b"FI"), FlagName(FGW_F_OM, b"OM"),
]


@cython.final
cdef class Values(Pen):
    def __cinit__(self, Buffer out, int style):
        self.style = style
        self.value_max = VALUE_MAX
        self.second = -1

    cdef bint write(self, const Piece *piece, Served x) except -1:
        """Append the value; False when it is missing (then nothing is appended)."""
        if piece.code == FGW_VALUE_TEXT:
            self.put(piece.text, piece.text_len)
            return True
        self.wrote = False
        self.value(piece, x)
        self.value_max = VALUE_MAX
        return self.wrote

    cdef int value(self, const Piece *piece, Served x) except -1:
        """What both exchanges and tunnels have; the rest is an exchange's."""
        cdef int code = piece.code
        if code == FGW_VALUE_START_TIME:
            return self.start_time(piece, x)
        elif code == FGW_VALUE_FLAGS:
            return self.flag_names(x.flags)
        elif code == FGW_VALUE_DETAILS:
            return self.plain(x.details)
        elif code == FGW_VALUE_BYTES_RECEIVED:
            return self.number(x.bytes_received)
        elif code == FGW_VALUE_BYTES_SENT:
            return self.number(x.bytes_sent)
        elif code == FGW_VALUE_DURATION:
            return self.duration(x)
        elif code == FGW_VALUE_TRANSPORT_FAILURE:
            return self.kept_text(x.transport_failure)
        elif code == FGW_VALUE_REQUESTED_SERVER_NAME:
            return self.kept_text(x.client_side().server_name)
        if FGW_VALUE_TLS_VERSION <= code <= FGW_VALUE_LOCAL_DNS_SAN:
            return self.tls_value(code, x.client_side().tls)
        if isinstance(x, Exchange) and self.exchange_value(piece, <Exchange>x):
            return 0
        if isinstance(x, Tunnel) and self.tunnel_value(code, <Tunnel>x):
            return 0
        if FGW_VALUE_UPSTREAM_HOST <= code <= FGW_VALUE_DOWNSTREAM_REMOTE_PORT:
            return self.address_value(code, x)
        return self.other_value(code, x)

    cdef int duration(self, Served x) except -1:
        cdef int64_t end = x.end_ns
        if self.style == STYLE_FIELD:  # a header field is written while it lasts
            x.ctx.loop.update_clock()
            end = x.ctx.loop.now_ns
        return self.number(<uint64_t>((end - x.start_ns) // 1000000))

    cdef int tls_value(self, int code, TlsFacts tls) except -1:
        """Of the client's TLS, where it ends here."""
        cdef CertificateTexts own
        if tls is None:
            return 0
        if code == FGW_VALUE_TLS_VERSION:
            return self.plain(tls.version)
        if code == FGW_VALUE_TLS_CIPHER:
            return self.plain(tls.cipher)
        if code == FGW_VALUE_TLS_SESSION_ID:
            return self.hexadecimal(tls.session_id, tls.session_id_len)
        if code < FGW_VALUE_LOCAL_SUBJECT:
            return self.certificate_value(code, tls.peer_texts()) if tls.peer != NULL else 0
        own = tls.own_texts()
        if own is None:
            return 0
        if code == FGW_VALUE_LOCAL_SUBJECT:
            return self.kept_text(own.subject)
        return self.kept_text(own.uri_text if code == FGW_VALUE_LOCAL_URI_SAN else own.dns_text)

    cdef int certificate_value(self, int code, CertificateTexts peer) except -1:
        if code == FGW_VALUE_PEER_SUBJECT:
            return self.kept_text(peer.subject)
        if code == FGW_VALUE_PEER_ISSUER:
            return self.kept_text(peer.issuer)
        if code == FGW_VALUE_PEER_URI_SAN:
            return self.kept_text(peer.uri_text)
        if code == FGW_VALUE_PEER_DNS_SAN:
            return self.kept_text(peer.dns_text)
        if code == FGW_VALUE_PEER_SERIAL:
            return self.kept_text(peer.serial)
        if code == FGW_VALUE_PEER_FINGERPRINT_256:
            return self.kept_text(peer.sha256)
        if code == FGW_VALUE_PEER_FINGERPRINT_1:
            return self.kept_text(peer.sha1)
        if code == FGW_VALUE_PEER_CERT:
            return self.kept_text(peer.pem)
        return self.kept_text(peer.starts if code == FGW_VALUE_PEER_CERT_V_START else peer.ends)

    cdef bint tunnel_value(self, int code, Tunnel x) except -1:
        """What a tunnel knows otherwise than an exchange, which still has its image; False for the rest."""
        if code == FGW_VALUE_UPSTREAM_CLUSTER:
            self.kept_text(x.cluster_text)
        elif code == FGW_VALUE_ROUTE_NAME:
            self.kept_text(x.client.chain_name)
        elif code == FGW_VALUE_VIRTUAL_SERVICE:
            self.kept_text(x.virtual_service)
        elif code == FGW_VALUE_TERMINATION_DETAILS:
            self.plain(x.termination)
        else:
            return False
        return True

    cdef int kept_text(self, bytes text) except -1:
        return self.outside(<const char *>text, <size_t>len(text)) if text is not None else 0

    cdef bint exchange_value(self, const Piece *piece, Exchange x) except -1:
        """What only an exchange has; False for the rest."""
        cdef int code = piece.code
        if code == FGW_VALUE_CODE:
            self.number(x.status)
        elif code == FGW_VALUE_UPSTREAM_SERVICE_TIME:
            if x.service_time_ms >= 0:
                self.number(<uint64_t>x.service_time_ms)
        elif code == FGW_VALUE_RESPONSE_HEADER:
            self.response_header(piece, x)
        elif FGW_VALUE_UPSTREAM_HOST <= code < FGW_VALUE_GRPC_STATUS:
            return False
        elif code >= FGW_VALUE_GRPC_STATUS:
            self.grpc_value(code, x)
        elif x.head.present:
            self.head_value(piece, x)
        return True

    cdef int head_value(self, const Piece *piece, Exchange x) except -1:
        """Of the request's head."""
        cdef int code = piece.code
        cdef RequestHead head = x.head
        if code == FGW_VALUE_METHOD:
            return self.outside(head.base + head.req.method.off, head.req.method.len)
        elif code == FGW_VALUE_PATH:
            return self.outside(head.base + head.req.target.off, head.req.target.len)
        elif code == FGW_VALUE_PROTOCOL:
            if x.client is not None and x.client.http2:
                return self.plain(b"HTTP/2")
            return self.plain(b"HTTP/1.1" if head.req.minor else b"HTTP/1.0")
        elif code == FGW_VALUE_AUTHORITY:
            return self.outside(head.base + head.req.authority.off, head.req.authority.len)
        elif code == FGW_VALUE_SCHEME:
            return self.plain(b"https" if head.secure else b"http")
        elif code == FGW_VALUE_REQUEST_ID:
            return self.outside(head.base + head.request_id_at, 36) if head.request_id_at else 0
        elif code == FGW_VALUE_REQUEST_HEADER:
            return self.request_header(piece, x)
        return 0

    cdef int grpc_value(self, int code, Exchange x) except -1:
        """What the answer said, else what its HTTP status means; nothing before there is one."""
        cdef int status = x.grpc_status
        if x.grpc == FGW_GRPC_NOT:
            return 0
        if status < 0 and x.status:
            status = fgw_grpc_status_of_http(x.status)
        if status < 0:
            return 0
        if code == FGW_VALUE_GRPC_STATUS_NUMBER:
            return self.number(<uint64_t>status)
        return self.plain(fgw_grpc_status_name(status, code == FGW_VALUE_GRPC_STATUS))

    cdef int address_value(self, int code, Served x) except -1:
        cdef char text[128]
        cdef size_t n = 0
        cdef ClientSide client = x.client_side()
        if code == FGW_VALUE_UPSTREAM_HOST and x.attempts:
            n = format_endpoint(&x.address, text)
        elif code == FGW_VALUE_UPSTREAM_CLUSTER and x.cluster_name.len:
            return self.outside(x.image.strings + x.cluster_name.off, x.cluster_name.len)
        elif code == FGW_VALUE_UPSTREAM_LOCAL_ADDRESS:
            return self.upstream_local(x)
        elif code == FGW_VALUE_DOWNSTREAM_LOCAL_ADDRESS:
            n = <size_t>client.local_address(text)
        elif code == FGW_VALUE_DOWNSTREAM_REMOTE_ADDRESS:
            n = self.remote(x, text)
        elif code == FGW_VALUE_DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT:
            if isinstance(x, Exchange):
                return self.outside((<Exchange>x).head.remote, (<Exchange>x).head.remote_len)
            return self.outside(client.peer, client.peer_len)
        elif code == FGW_VALUE_DOWNSTREAM_REMOTE_PORT and client.peer_port:
            return self.number(0 if is_forwarded(x) else client.peer_port)
        return self.outside(text, n)

    cdef int upstream_local(self, Served x) except -1:
        """Recorded for the log; a header field is written while the connection is there."""
        cdef char text[128]
        if self.style == STYLE_FIELD and isinstance(x, Exchange) and (<Exchange>x).upstream is not None:
            return self.outside(text, <size_t>(<Exchange>x).upstream.local_address(text))
        return self.outside(x.upstream_local, <size_t>x.upstream_local_len)

    cdef size_t remote(self, Served x, char *out) except? 0:
        """With the port, which a proxy in front has not told when the address is from X-Forwarded-For: then it is 0."""
        cdef ClientSide client = x.client_side()
        cdef bint told = is_forwarded(x)
        cdef const char *address = &client.peer[0]
        cdef size_t n = client.peer_len
        cdef size_t at = 0
        cdef bint six
        if told:
            address, n = &(<Exchange>x).head.remote[0], (<Exchange>x).head.remote_len
        six = memchr(address, 58, n) != NULL
        if six:
            out[0] = 91
            at = 1
        memcpy(out + at, address, n)
        at += n
        if six:
            out[at] = 93
            at += 1
        if client.peer_port or told:
            out[at] = 58
            at += 1
            at += fgw_write_decimal(out + at, 0 if told else client.peer_port)
        return at

    cdef int other_value(self, int code, Served x) except -1:
        cdef const fgw_img_origin *origins
        cdef fgw_span name
        cdef ClientSide client
        if code == FGW_VALUE_CODE:  # of a tunnel
            return self.number(0)
        if code == FGW_VALUE_REJECT_REASON and x.reject_reason:
            return self.plain(fgw_reason_name(x.reject_reason))
        if code == FGW_VALUE_ATTEMPTS and x.attempts:
            return self.number(<uint64_t>x.attempts)
        if code == FGW_VALUE_LISTENER:
            client = x.client_side()
            return self.outside(<const char *>client.listener_name, <size_t>len(client.listener_name))
        if x.image is None or x.route.rule == FGW_NONE:
            return 0
        if code == FGW_VALUE_ROUTE_NAME:
            name = x.image.rules[x.route.rule].name
            return self.outside(x.image.strings + name.off, name.len)
        if code == FGW_VALUE_VIRTUAL_SERVICE:
            origins = x.image.origins
            name = origins[x.image.rules[x.route.rule].virtual_service].name
            return self.outside(x.image.strings + name.off, name.len)
        return 0

    cdef int request_header(self, const Piece *piece, Exchange x) except -1:
        cdef const fgw_field *f = x.head.find(piece.header_id, piece.text, piece.text_len)
        if f == NULL and piece.other_len:
            f = x.head.find(piece.other_id, piece.other, piece.other_len)
        if f == NULL:
            return 0
        return self.outside(x.head.base + f.value_off, f.value_len)

    cdef int response_header(self, const Piece *piece, Exchange x) except -1:
        cdef const char *p
        cdef uint32_t i, length
        if self.style == STYLE_FIELD:
            return self.answer_header(piece)
        if x.kept_response is None or x.kept_response.size() == 0:
            return 0
        p = x.kept_response.head()
        for i in range(piece.ordinal + 1):
            memcpy(&length, p, sizeof(length))
            p += sizeof(length)
            if i == piece.ordinal and length:
                return self.outside(p, length - 1)
            if length:
                p += length - 1
        return 0

    cdef int answer_header(self, const Piece *piece) except -1:
        cdef const fgw_field *f
        if self.answer is None:
            return 0
        f = self.answer.find(piece.header_id, piece.text, piece.text_len)
        if f == NULL and piece.other_len:
            f = self.answer.find(piece.other_id, piece.other, piece.other_len)
        return 0 if f == NULL else self.outside(self.answer.base + f.value_off, f.value_len)

    cdef int flag_names(self, uint32_t flags) except -1:
        cdef int i
        if flags == 0:
            return 0
        for i in range(16):
            if flags & FLAG_NAMES[i].bit:
                if self.wrote:
                    self.put(b",", 1)
                self.plain(FLAG_NAMES[i].name)
        return 0

    cdef int start_time(self, const Piece *piece, Served x) except -1:
        """strftime in UTC; %3f, %6f and %9f are fractions of the second, %s the seconds since the epoch."""
        cdef int64_t start = x.start_wall_ns
        cdef time_t seconds
        cdef uint32_t left
        cdef size_t i
        if self.style == STYLE_FIELD:  # start_wall_ns is taken for the log alone
            start = x.start_ns + x.ctx.loop.wall_ahead_ns()
        seconds, left = start // 1000000000, <uint32_t>(start % 1000000000)
        if seconds != self.second:
            self.begin_second(seconds)
        self.wrote = True
        if piece.text_len == 0:
            self.put(self.second_text, SECOND_BYTES)
            self.at += fgw_write_fraction(self.at, left, 3)
            return self.put(b"Z", 1)
        i = 0
        while i < piece.text_len:
            if piece.text[i] != 37 or i + 1 >= piece.text_len:
                self.put(piece.text + i, 1)
                i += 1
                continue
            if i + 2 < piece.text_len and 49 <= piece.text[i + 1] <= 57 and piece.text[i + 2] == 102:
                self.room(9)
                self.at += fgw_write_fraction(self.at, left, piece.text[i + 1] - 48)
                i += 3
                continue
            self.conversion(piece.text[i + 1], seconds)
            i += 2
        return 0

    cdef int begin_second(self, time_t seconds) except -1:
        """Most lines begin in the second of the line before."""
        gmtime_r(&seconds, &self.parts)
        strftime(self.second_text, sizeof(self.second_text), b"%Y-%m-%dT%H:%M:%S.", &self.parts)
        self.second = seconds
        return 0

    cdef int conversion(self, char letter, time_t seconds) except -1:
        cdef char pattern[3]
        cdef char text[64]
        if letter == 115:
            return self.number(<uint64_t>seconds)
        pattern[0] = 37
        pattern[1] = letter
        pattern[2] = 0
        return self.put(text, strftime(text, sizeof(text), pattern, &self.parts))

    # ---- writing

    cdef int plain(self, const char *text) except -1:
        if text != NULL and text[0]:
            self.wrote = True
            self.put(text, strlen(text))
        return 0

    cdef int number(self, uint64_t n) except -1:
        self.wrote = True
        self.room(FGW_DECIMAL_MAX)
        self.at += fgw_write_decimal(self.at, n)
        return 0

    cdef int hexadecimal(self, const unsigned char *p, size_t n) except -1:
        cdef const char *digits = b"0123456789abcdef"
        cdef size_t i
        self.room(2 * n)
        for i in range(n):
            self.at[2 * i], self.at[2 * i + 1] = digits[p[i] >> 4], digits[p[i] & 15]
        self.wrote = self.wrote or n != 0
        self.at += 2 * n
        return 0

    cdef int outside(self, const char *p, size_t n) except -1:
        """Bytes from outside: in a log no line break, quote, control or high byte gets through as it is."""
        if n == 0:
            return 0
        self.wrote = True
        if n > self.value_max:
            n = self.value_max
        if self.style == STYLE_FIELD:
            return self.for_field(p, n)
        self.room(n * FGW_ESCAPED_JSON_MAX)
        if self.style == STYLE_LOG:
            self.at += fgw_escape_log(self.at, p, n)
        else:
            self.at += fgw_escape_json(self.at, p, n)
        return 0

    cdef int for_field(self, const char *p, size_t n) except -1:
        """As it is, but for control characters: nothing from outside ends a field."""
        cdef size_t i
        cdef uint8_t c
        self.room(n)
        for i in range(n):
            c = <uint8_t>p[i]
            if c >= 32 and c != 127 or c == 9:
                self.at[0] = <char>c
                self.at += 1
        return 0


cdef bint is_forwarded(Served x) noexcept:
    """Is its client somebody whom a trusted proxy speaks for?"""
    return isinstance(x, Exchange) and (<Exchange>x).head.forwarded


cdef size_t format_endpoint(const Address *a, char *out) noexcept:
    cdef size_t n
    if a.family == FGW_FAMILY_UNIX:
        memcpy(out, a.path, a.path_len)
        return a.path_len
    if a.family == FGW_FAMILY_IPV4:
        return fgw_write_ipv4_port(out, a.ip, a.port)
    out[0] = 91
    inet_ntop(AF_INET6, a.ip, out + 1, 64)
    n = strlen(out)
    out[n] = 93
    out[n + 1] = 58
    return n + 2 + fgw_write_decimal(out + n + 2, a.port)
