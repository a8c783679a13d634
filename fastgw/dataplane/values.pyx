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
from fastgw.dataplane.client_address cimport write_ip
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.request_head cimport RequestHead
from fastgw.dataplane.served cimport Address, ClientSide, Served
from fastgw.dataplane.tls_facts cimport TlsFacts
from fastgw.dataplane.tunnel cimport Tunnel
from fastgw.native.base cimport fgw_field, fgw_reason_name, fgw_span
from fastgw.native.grpc cimport FGW_GRPC_NOT, fgw_grpc_status_name, fgw_grpc_status_of_http
from fastgw.native.route cimport (
    FGW_FAMILY_IPV4, FGW_FAMILY_UNIX, FGW_NONE, FGW_VALUE_ATTEMPTS, FGW_VALUE_AUTHORITY, FGW_VALUE_BYTES_RECEIVED,
    FGW_VALUE_BYTES_SENT, FGW_VALUE_CODE, FGW_VALUE_DETAILS, FGW_VALUE_DOWNSTREAM_DIRECT_REMOTE_ADDRESS,
    FGW_VALUE_DOWNSTREAM_DIRECT_REMOTE_PORT, FGW_VALUE_DOWNSTREAM_LOCAL_ADDRESS, FGW_VALUE_DOWNSTREAM_LOCAL_PORT,
    FGW_VALUE_DOWNSTREAM_REMOTE_ADDRESS, FGW_VALUE_DOWNSTREAM_REMOTE_PORT,
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
    FGW_F_RL, FGW_F_UPE, FGW_F_UR, FGW_F_URX, FGW_F_UT,
)
from fastgw.native.system cimport AF_INET6, inet_ntop
from fastgw.native.text cimport (
    FGW_ESCAPED_MAX, fgw_escape, fgw_write_decimal, fgw_write_fraction, fgw_write_ipv4_port,
)

cdef struct FlagName:
    uint32_t bit
    const char *name

cdef FlagName[17] FLAG_NAMES = [
    FlagName(FGW_F_UH, b"UH"), FlagName(FGW_F_UF, b"UF"), FlagName(FGW_F_UO, b"UO"), FlagName(FGW_F_NR, b"NR"),
    FlagName(FGW_F_URX, b"URX"), FlagName(FGW_F_NC, b"NC"), FlagName(FGW_F_UT, b"UT"), FlagName(FGW_F_DC, b"DC"),
    FlagName(FGW_F_UR, b"UR"), FlagName(FGW_F_UC, b"UC"), FlagName(FGW_F_SI, b"SI"), FlagName(FGW_F_DPE, b"DPE"),
    FlagName(FGW_F_UPE, b"UPE"), FlagName(FGW_F_DI, b"DI"), FlagName(FGW_F_FI, b"FI"), FlagName(FGW_F_OM, b"OM"),
    FlagName(FGW_F_RL, b"RL"),
]


@cython.final
@cython.nonecheck(False)  # what may be None is asked for: a line has two dozen values, each with several attributes on its way
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
        self.value(piece, x, <Exchange>x if isinstance(x, Exchange) else None, x.client_side())
        self.value_max = VALUE_MAX
        return self.wrote

    cdef int value(self, const Piece *piece, Served x, Exchange exchange, ClientSide client) except -1:
        """What both exchanges and tunnels have. ``exchange`` is None for a tunnel."""
        cdef int code = piece.code
        if code == FGW_VALUE_START_TIME:
            return self.start_time(piece, x)
        elif code == FGW_VALUE_FLAGS:
            return self.written(write_flags(self.at, x.flags)) if x.flags else 0
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
        elif code == FGW_VALUE_UPSTREAM_HOST:
            return self.endpoint(x) if x.attempts else 0
        elif code == FGW_VALUE_UPSTREAM_LOCAL_ADDRESS:
            return self.upstream_local(x, exchange)
        elif code == FGW_VALUE_ATTEMPTS:
            return self.number(<uint64_t>x.attempts) if x.attempts else 0
        elif code == FGW_VALUE_REJECT_REASON:
            return self.plain(fgw_reason_name(x.reject_reason)) if x.reject_reason else 0
        elif FGW_VALUE_DOWNSTREAM_LOCAL_ADDRESS <= code <= FGW_VALUE_DOWNSTREAM_REMOTE_PORT or (
                FGW_VALUE_LISTENER <= code <= FGW_VALUE_LOCAL_DNS_SAN):
            return self.client_value(code, client, exchange) if client is not None else 0
        if exchange is None:
            return self.tunnel_value(code, <Tunnel?>x)
        if FGW_VALUE_METHOD <= code <= FGW_VALUE_RESPONSE_HEADER:
            return self.exchange_value(piece, exchange)
        if code >= FGW_VALUE_GRPC_STATUS:
            return self.grpc_value(code, exchange)
        return self.route_value(code, x)

    cdef int duration(self, Served x) except -1:
        cdef int64_t end = x.end_ns
        if self.style == STYLE_FIELD:  # a header field is written while it lasts
            x.ctx.loop.update_clock()
            end = x.ctx.loop.now_ns
        return self.number(<uint64_t>((end - x.start_ns) // 1000000))

    cdef int client_value(self, int code, ClientSide client, Exchange exchange) except -1:
        """Of the client and its connection."""
        if code == FGW_VALUE_LISTENER:
            return self.kept_text(client.listener_name)
        elif code == FGW_VALUE_REQUESTED_SERVER_NAME:
            return self.kept_text(client.server_name)
        elif code > FGW_VALUE_REQUESTED_SERVER_NAME:
            return self.tls_value(code, client.tls)
        elif code >= FGW_VALUE_DOWNSTREAM_REMOTE_ADDRESS:
            return self.remote_value(code, client, exchange)
        elif code >= FGW_VALUE_DOWNSTREAM_DIRECT_REMOTE_ADDRESS:
            return self.direct_value(code, client)
        return self.local_value(code, client)

    cdef int remote_value(self, int code, ClientSide client, Exchange exchange) except -1:
        """Whose request it is."""
        cdef bint told = exchange is not None and exchange.head.forwarded
        if code == FGW_VALUE_DOWNSTREAM_REMOTE_ADDRESS:
            return self.written(write_remote(self.at, client, exchange.head if exchange is not None else None))
        elif code == FGW_VALUE_DOWNSTREAM_REMOTE_PORT:
            return self.number(0 if told else client.peer_port) if told or client.has_port else 0
        elif exchange is not None:
            return self.outside(exchange.head.remote, exchange.head.remote_len)
        return self.outside(client.peer, client.peer_len)

    cdef int direct_value(self, int code, ClientSide client) except -1:
        """Who is at the other end of the connection."""
        cdef char text[48]
        if code == FGW_VALUE_DOWNSTREAM_DIRECT_REMOTE_PORT:
            return self.number(client.direct_port) if client.direct_port else 0
        if code == FGW_VALUE_DOWNSTREAM_DIRECT_REMOTE_ADDRESS:
            return self.written(write_address(
                self.at, text, write_ip(text, client.direct_ip), client.direct_port, client.direct_port != 0))
        return self.written(write_ip(self.at, client.direct_ip))

    cdef int local_value(self, int code, ClientSide client) except -1:
        """Ours, as the client knows it: "1.2.3.4:80" or "[::1]:80"."""
        cdef char text[64]
        cdef int n, colon
        if code == FGW_VALUE_DOWNSTREAM_LOCAL_ADDRESS:
            return self.written(<size_t>client.local_address(self.at))
        n = colon = client.local_address(text)
        while colon > 0 and text[colon - 1] != 58:
            colon -= 1
        if colon == 0:  # the name of a unix socket
            return self.outside(text, <size_t>n) if code != FGW_VALUE_DOWNSTREAM_LOCAL_PORT else 0
        if code == FGW_VALUE_DOWNSTREAM_LOCAL_PORT:
            return self.outside(text + colon, <size_t>(n - colon))
        return self.outside(text + 1, <size_t>(colon - 3)) if text[0] == 91 else self.outside(text, <size_t>(colon - 1))

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

    cdef int tunnel_value(self, int code, Tunnel x) except -1:
        """What a tunnel knows otherwise than an exchange, which still has its image."""
        if code == FGW_VALUE_CODE:
            self.number(0)
        elif code == FGW_VALUE_UPSTREAM_CLUSTER:
            self.kept_text(x.cluster_text)
        elif code == FGW_VALUE_ROUTE_NAME:
            self.kept_text(x.client.chain_name)
        elif code == FGW_VALUE_VIRTUAL_SERVICE:
            self.kept_text(x.virtual_service)
        elif code == FGW_VALUE_TERMINATION_DETAILS:
            self.plain(x.termination)
        return 0

    cdef int kept_text(self, bytes text) except -1:
        return self.outside(<const char *>text, <size_t>len(text)) if text is not None else 0

    cdef int exchange_value(self, const Piece *piece, Exchange x) except -1:
        """Of a request and its answer."""
        cdef int code = piece.code
        cdef RequestHead head = x.head
        if code == FGW_VALUE_CODE:
            return self.number(x.status)
        elif code == FGW_VALUE_UPSTREAM_SERVICE_TIME:
            return self.number(<uint64_t>x.service_time_ms) if x.service_time_ms >= 0 else 0
        elif code == FGW_VALUE_RESPONSE_HEADER:
            return self.response_header(piece, x)
        if not head.present:
            return 0
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
            return self.request_header(piece, head)
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

    cdef int endpoint(self, Served x) except -1:
        if x.address.family == FGW_FAMILY_UNIX:
            return self.outside(x.address.path, x.address.path_len)
        return self.written(write_endpoint(self.at, &x.address))

    cdef int upstream_local(self, Served x, Exchange exchange) except -1:
        """Recorded for the log; a header field is written while the connection is there."""
        if self.style == STYLE_FIELD and exchange is not None and exchange.upstream is not None:
            return self.written(<size_t>exchange.upstream.local_address(self.at))
        return self.outside(x.upstream_local, <size_t>x.upstream_local_len)

    cdef int route_value(self, int code, Served x) except -1:
        """Names of what was decided."""
        cdef const fgw_img_origin *origins
        cdef fgw_span name
        if code == FGW_VALUE_UPSTREAM_CLUSTER:
            return self.outside(x.image.strings + x.cluster_name.off, x.cluster_name.len) if x.cluster_name.len else 0
        if x.image is None or x.route.rule == FGW_NONE:
            return 0
        if code == FGW_VALUE_ROUTE_NAME:
            name = x.image.rules[x.route.rule].name
        else:
            origins = x.image.origins
            name = origins[x.image.rules[x.route.rule].virtual_service].name
        return self.outside(x.image.strings + name.off, name.len)

    cdef int request_header(self, const Piece *piece, RequestHead head) except -1:
        cdef const fgw_field *f = head.find(piece.header_id, piece.text, piece.text_len)
        if f == NULL and piece.other_len:
            if piece.other[0] == 58:
                return pseudo_header(self, piece.other[1], head)
            f = head.find(piece.other_id, piece.other, piece.other_len)
        return 0 if f == NULL else self.outside(head.base + f.value_off, f.value_len)

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
            return self.put(self.start_text(start), START_BYTES)
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

    cdef const char *start_text(self, int64_t wall_ns) noexcept:
        """START_BYTES of a time of day; they stand until the next one."""
        cdef time_t seconds = wall_ns // 1000000000
        if seconds != self.second:
            self.begin_second(seconds)
        fgw_write_fraction(self.second_text + SECOND_BYTES, <uint32_t>(wall_ns % 1000000000), 3)
        self.second_text[START_BYTES - 1] = 90  # 'Z'
        return self.second_text

    cdef int begin_second(self, time_t seconds) noexcept:
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

    cdef int written(self, size_t n) except -1:
        """So many bytes, at most SPARE, stand at `at` already."""
        self.wrote = self.wrote or n != 0
        self.at += n
        return self.room(0)

    cdef int number(self, uint64_t n) except -1:
        return self.written(fgw_write_decimal(self.at, n))

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
        self.room(n * FGW_ESCAPED_MAX)
        self.at += fgw_escape(self.at, p, n, self.style == STYLE_JSON)
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


cdef int pseudo_header(Values pen, char initial, RequestHead head) except -1:
    """In place of a field that is missing: :method, :path, :authority or :scheme, by the letter after the colon."""
    if initial == 109:
        return pen.outside(head.base + head.req.method.off, head.req.method.len)
    if initial == 112:
        return pen.outside(head.base + head.req.target.off, head.req.target.len)
    if initial == 97:
        return pen.outside(head.base + head.req.authority.off, head.req.authority.len)
    return pen.plain(b"https" if head.secure else b"http")


cdef size_t write_flags(char *out, uint32_t flags) noexcept:
    """Their names with commas between, less than 80 bytes."""
    cdef size_t at = 0, n
    cdef int i
    for i in range(17):
        if flags & FLAG_NAMES[i].bit:
            if at:
                out[at] = 44
                at += 1
            n = strlen(FLAG_NAMES[i].name)
            memcpy(out + at, FLAG_NAMES[i].name, n)
            at += n
    return at


cdef size_t write_endpoint(char *out, const Address *a) noexcept:
    cdef size_t n
    if a.family == FGW_FAMILY_IPV4:
        return fgw_write_ipv4_port(out, a.ip, a.port)
    out[0] = 91
    inet_ntop(AF_INET6, a.ip, out + 1, 64)
    n = strlen(out)
    out[n] = 93
    out[n + 1] = 58
    return n + 2 + fgw_write_decimal(out + n + 2, a.port)


cdef size_t write_remote(char *out, ClientSide client, RequestHead head) noexcept:
    """Whose request it is; ``head`` is None for a relay. Whose address a trusted proxy in front has told in a field has port 0."""
    if head is not None and head.forwarded:
        return write_address(out, head.remote, head.remote_len, 0, True)
    return write_address(out, client.peer, client.peer_len, client.peer_port, client.has_port)


cdef size_t write_address(char *out, const char *address, size_t n, uint32_t port, bint with_port) noexcept:
    """"1.2.3.4:80", "[::1]:80"; without a port "1.2.3.4", "[::1]"."""
    cdef bint six = memchr(address, 58, n) != NULL
    cdef size_t at = six
    if six:
        out[0] = 91
    memcpy(out + at, address, n)
    at += n
    if six:
        out[at] = 93
        at += 1
    if with_port:
        out[at] = 58
        at += 1 + fgw_write_decimal(out + at + 1, port)
    return at
