"""The access log: one line for each finished exchange, formatted by a flat program, written in batches.

The program is made by the control side (fastgw.model.log_program). Bytes from outside are escaped, so that one request is
one line whatever a client sends. Lines collect in a buffer and go out at the end of a turn, at the latest FLUSH_MS later. A
sink that does not take them (a full disk, a stuck pipe) never blocks the worker: lines are dropped and counted.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcpy, strlen
from libc.time cimport gmtime_r, strftime, time_t, tm

import os
import stat

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange, ExchangeObserver, ResponseHead
from fastgw.dataplane.headers cimport write_decimal
from fastgw.dataplane.loop cimport Turn
from fastgw.dataplane.served cimport Address, ClientSide, Served
from fastgw.dataplane.tunnel cimport Tunnel
from fastgw.native.base cimport FGW_FIELD_HIDDEN, FGW_FIELD_LISTED, fgw_field, fgw_header_id_of, fgw_reason_name, fgw_span
from fastgw.native.route cimport FGW_FAMILY_IPV4, FGW_FAMILY_UNIX, FGW_NONE, fgw_img_origin
from fastgw.native.state cimport (
    FGW_C_LOG_DROPPED, FGW_C_LOG_LINES, FGW_F_DC, FGW_F_DPE, FGW_F_NC, FGW_F_NR, FGW_F_SI, FGW_F_UC, FGW_F_UF, FGW_F_UH, FGW_F_UO,
    FGW_F_UPE, FGW_F_UR, FGW_F_URX, FGW_F_UT,
)
from fastgw.native.system cimport AF_INET, AF_INET6, EAGAIN, EINTR, POLLOUT, close, errno, inet_ntop, poll, pollfd, write

cdef enum:
    FLUSH_BYTES = 32768
    FLUSH_MS = 200
    LIMIT_BYTES = 196608       # lines beyond this are dropped
    PIECE = 4096               # of a pipe: at most what it takes at once when it is writable
    VALUE_MAX = 8192           # of one value; longer ones are cut
    KEPT_MAX = 65536           # of all response fields that are kept for one line

cdef enum OpCode:
    OP_TEXT, OP_START_TIME, OP_METHOD, OP_PATH, OP_PROTOCOL, OP_CODE, OP_FLAGS, OP_DETAILS, OP_TERMINATION_DETAILS,
    OP_TRANSPORT_FAILURE, OP_BYTES_RECEIVED, OP_BYTES_SENT, OP_DURATION, OP_UPSTREAM_SERVICE_TIME, OP_AUTHORITY, OP_REQUEST_ID,
    OP_UPSTREAM_HOST, OP_UPSTREAM_CLUSTER, OP_UPSTREAM_LOCAL_ADDRESS, OP_DOWNSTREAM_LOCAL_ADDRESS, OP_DOWNSTREAM_REMOTE_ADDRESS,
    OP_DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT, OP_DOWNSTREAM_REMOTE_PORT, OP_REQUESTED_SERVER_NAME, OP_ROUTE_NAME,
    OP_VIRTUAL_SERVICE, OP_REJECT_REASON, OP_ATTEMPTS, OP_LISTENER, OP_REQUEST_HEADER, OP_RESPONSE_HEADER, OP_JSON, OP_LIMIT

NAMES = (
    "text", "start_time", "method", "path", "protocol", "code", "flags", "details", "termination_details", "transport_failure",
    "bytes_received", "bytes_sent", "duration", "upstream_service_time", "authority", "request_id", "upstream_host",
    "upstream_cluster", "upstream_local_address", "downstream_local_address", "downstream_remote_address",
    "downstream_remote_address_without_port", "downstream_remote_port", "requested_server_name", "route_name", "virtual_service",
    "reject_reason", "attempts", "listener", "request_header", "response_header", "json", "limit",
)

cdef struct Op:
    int code
    const char *arg            # owned by AccessLog.kept
    size_t arg_len
    const char *alt            # alternative header name
    size_t alt_len
    int header_id
    int alt_id
    uint32_t ordinal           # of a response header among those


cdef struct FlagName:
    uint32_t bit
    const char *name

cdef FlagName[13] FLAG_NAMES = [
    FlagName(FGW_F_UH, b"UH"), FlagName(FGW_F_UF, b"UF"), FlagName(FGW_F_UO, b"UO"), FlagName(FGW_F_NR, b"NR"),
    FlagName(FGW_F_URX, b"URX"), FlagName(FGW_F_NC, b"NC"), FlagName(FGW_F_UT, b"UT"), FlagName(FGW_F_DC, b"DC"),
    FlagName(FGW_F_UR, b"UR"), FlagName(FGW_F_UC, b"UC"), FlagName(FGW_F_SI, b"SI"), FlagName(FGW_F_DPE, b"DPE"),
    FlagName(FGW_F_UPE, b"UPE"),
]


cdef class LogFlush(Turn):
    """Runs at the end of every turn."""
    cdef AccessLog log

    cdef int on_turn_end(self) except -1:
        return self.log.flush_when_due()


cdef class AccessLog(ExchangeObserver):
    cdef Context ctx
    cdef Buffer out
    cdef Op *ops
    cdef int op_count
    cdef list kept                 # keeps the bytes that ops point at
    cdef int fd
    cdef int own_fd                # a pipe opened once more without blocking, -1: none
    cdef bint is_file
    cdef bint json
    cdef size_t value_max          # longest value from outside, for the next operation
    cdef bint wrote                # the present value is not missing
    cdef int64_t oldest_ms         # when the first waiting line was written
    cdef uint32_t response_ops

    def __cinit__(self):
        self.own_fd = -1

    def __init__(self, Context ctx, int fd, program):
        cdef LogFlush hook = LogFlush()
        self.ctx = ctx
        self.out = Buffer()
        self.kept = []
        self.compile(program)
        self.use(fd)
        hook.log = self
        ctx.loop.hooks.append(hook)

    def __dealloc__(self):
        free(self.ops)
        if self.own_fd >= 0:
            close(self.own_fd)

    def use(self, int fd):
        """Write to this descriptor from now on (log rotation); the caller closes the old one."""
        mode = os.fstat(fd).st_mode
        if self.own_fd >= 0:
            close(self.own_fd)
        self.own_fd = open_again(fd) if stat.S_ISFIFO(mode) else -1
        self.fd = self.own_fd if self.own_fd >= 0 else fd
        self.is_file = stat.S_ISREG(mode) or stat.S_ISCHR(mode) and not os.isatty(fd)

    def compile(self, program):
        cdef int i
        cdef Op *op
        self.ops = <Op *>calloc(len(program) + 1, sizeof(Op))
        if self.ops == NULL:
            raise MemoryError("access log program")
        self.op_count = len(program)
        for i, (name, arg) in enumerate(program):
            op = &self.ops[i]
            op.code = NAMES.index(name)
            first, _, alt = arg.partition("?") if name.endswith("_header") else (arg, "", "")
            self.keep(first, &op.arg, &op.arg_len)
            self.keep(alt, &op.alt, &op.alt_len)
            op.header_id = fgw_header_id_of(op.arg, op.arg_len)
            op.alt_id = fgw_header_id_of(op.alt, op.alt_len)
            if op.code == OP_LIMIT:
                op.ordinal = min(int(arg), <uint32_t>VALUE_MAX)
            elif op.code == OP_RESPONSE_HEADER:
                op.ordinal = self.response_ops
                self.response_ops += 1
            elif op.code == OP_UPSTREAM_LOCAL_ADDRESS:
                self.wants_local = True
        self.wants_response = self.response_ops != 0

    cdef int keep(self, str text, const char **p, size_t *n) except -1:
        cdef bytes data = text.encode("utf-8")
        self.kept.append(data)
        p[0] = data
        n[0] = <size_t>len(data)
        return 0

    # ---- what is recorded

    cdef int on_response(self, Exchange x, const ResponseHead *head) except -1:
        """Keep the values of the response fields that the program wants: length + 1 and bytes each, 0 for a missing one."""
        cdef int i
        cdef const fgw_field *f
        cdef uint32_t length
        if x.kept_response is None:
            x.kept_response = Buffer()
        x.kept_response.release()
        for i in range(self.op_count):
            if self.ops[i].code != OP_RESPONSE_HEADER:
                continue
            f = find_field(head.base, head.fields, head.field_count, self.ops[i].header_id, self.ops[i].arg, self.ops[i].arg_len)
            if f == NULL and self.ops[i].alt_len:
                f = find_field(head.base, head.fields, head.field_count, self.ops[i].alt_id, self.ops[i].alt, self.ops[i].alt_len)
            length = 0 if f == NULL else min(f.value_len, <uint32_t>VALUE_MAX) + 1
            if x.kept_response.size() + length > KEPT_MAX:
                length = 0  # as good as missing: a program with dozens of very long values
            x.kept_response.append(<const char *>&length, sizeof(length))
            if length:
                x.kept_response.append(head.base + f.value_off, length - 1)
        return 0

    cdef int on_finished(self, Served x) except -1:
        cdef size_t before = self.out.size()
        if before > LIMIT_BYTES:
            self.ctx.loop.count(FGW_C_LOG_DROPPED)
            return 0
        if before == 0:
            self.oldest_ms = self.ctx.loop.now_ms
        try:
            self.write_line(x)
        except OverflowError:  # the line is longer than the room that is left
            self.out.end = self.out.start + before
            self.ctx.loop.count(FGW_C_LOG_DROPPED)
            if before == 0:
                self.out.release()
            return 0
        self.ctx.loop.count(FGW_C_LOG_LINES)
        return 0

    cdef int write_line(self, Served x) except -1:
        cdef int i
        self.json = False
        self.value_max = VALUE_MAX
        for i in range(self.op_count):
            self.run(&self.ops[i], x)
        return 0

    # ---- values

    cdef int run(self, const Op *op, Served x) except -1:
        if op.code == OP_TEXT:
            return self.out.append(op.arg, op.arg_len)
        if op.code == OP_JSON:
            self.json = op.arg_len == 2  # "ON"
            return 0
        if op.code == OP_LIMIT:
            self.value_max = op.ordinal
            return 0
        self.wrote = False
        self.value(op, x)
        self.value_max = VALUE_MAX
        if not self.wrote:
            self.out.append(b"-", 1)
        return 0

    cdef int value(self, const Op *op, Served x) except -1:
        """What both exchanges and tunnels have; the rest is an exchange's."""
        cdef int code = op.code
        if code == OP_START_TIME:
            return self.start_time(op, x)
        if code == OP_FLAGS:
            return self.flag_names(x.flags)
        if code == OP_DETAILS:
            return self.plain(x.details)
        if code == OP_BYTES_RECEIVED:
            return self.number(x.bytes_received)
        if code == OP_BYTES_SENT:
            return self.number(x.bytes_sent)
        if code == OP_DURATION:
            self.ctx.loop.update_clock()
            return self.number(<uint64_t>((self.ctx.loop.now_ns - x.start_ns) // 1000000))
        if code == OP_TRANSPORT_FAILURE and x.transport_failure is not None:
            return self.escaped(<const char *>x.transport_failure, <size_t>len(x.transport_failure))
        if code == OP_REQUESTED_SERVER_NAME:
            return self.kept_text(x.client_side().server_name)
        if isinstance(x, Tunnel):
            if self.tunnel_value(code, <Tunnel>x):
                return 0
        if OP_UPSTREAM_HOST <= code <= OP_DOWNSTREAM_REMOTE_PORT:
            return self.address_value(code, x)
        if OP_ROUTE_NAME <= code <= OP_LISTENER:
            return self.other_value(code, x)
        if isinstance(x, Exchange):
            return self.exchange_value(op, <Exchange>x)
        return self.number(0) if code == OP_CODE else 0

    cdef bint tunnel_value(self, int code, Tunnel x) except -1:
        """What a tunnel knows otherwise than an exchange, which still has its image; False for the rest."""
        if code == OP_UPSTREAM_CLUSTER:
            self.kept_text(x.cluster_text)
        elif code == OP_ROUTE_NAME:
            self.kept_text(x.client.chain_name)
        elif code == OP_VIRTUAL_SERVICE:
            self.kept_text(x.virtual_service)
        elif code == OP_TERMINATION_DETAILS:
            self.plain(x.termination)
        else:
            return False
        return True

    cdef int kept_text(self, bytes text) except -1:
        return self.escaped(<const char *>text, <size_t>len(text)) if text is not None else 0

    cdef int exchange_value(self, const Op *op, Exchange x) except -1:
        cdef int code = op.code
        if code == OP_CODE:
            return self.number(x.status)
        if code == OP_UPSTREAM_SERVICE_TIME and x.service_time_ms >= 0:
            return self.number(<uint64_t>x.service_time_ms)
        if code == OP_RESPONSE_HEADER:
            return self.response_header(op, x)
        if not x.head.present:
            return 0
        if code == OP_METHOD:
            return self.escaped(x.head.base + x.head.req.method.off, x.head.req.method.len)
        if code == OP_PATH:
            return self.escaped(x.head.base + x.head.req.target.off, x.head.req.target.len)
        if code == OP_PROTOCOL:
            return self.plain(b"HTTP/1.1" if x.head.req.minor else b"HTTP/1.0")
        if code == OP_AUTHORITY:
            return self.escaped(x.head.base + x.head.req.authority.off, x.head.req.authority.len)
        if code == OP_REQUEST_ID and x.head.request_id_at:
            return self.escaped(x.head.base + x.head.request_id_at, 36)
        if code == OP_REQUEST_HEADER:
            return self.request_header(op, x)
        return 0

    cdef int address_value(self, int code, Served x) except -1:
        cdef char text[128]
        cdef size_t n = 0
        cdef ClientSide client = x.client_side()
        if code == OP_UPSTREAM_HOST and x.attempts:
            n = format_endpoint(&x.address, text)
        elif code == OP_UPSTREAM_CLUSTER and x.cluster_name.len:
            return self.escaped(x.image.strings + x.cluster_name.off, x.cluster_name.len)
        elif code == OP_UPSTREAM_LOCAL_ADDRESS:
            return self.escaped(x.upstream_local, <size_t>x.upstream_local_len)
        elif code == OP_DOWNSTREAM_LOCAL_ADDRESS:
            n = <size_t>client.local_address(text)
        elif code == OP_DOWNSTREAM_REMOTE_ADDRESS:
            n = self.remote(client, text)
        elif code == OP_DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT:
            if isinstance(x, Exchange):
                return self.escaped((<Exchange>x).head.remote, (<Exchange>x).head.remote_len)
            return self.escaped(client.peer, client.peer_len)
        elif code == OP_DOWNSTREAM_REMOTE_PORT and client.peer_port:
            return self.number(client.peer_port)
        return self.escaped(text, n)

    cdef size_t remote(self, ClientSide client, char *out) except? 0:
        cdef size_t n = client.peer_len
        cdef bint six = memchr(client.peer, 58, n) != NULL
        cdef size_t at = 0
        if six:
            out[0] = 91
            at = 1
        memcpy(out + at, client.peer, n)
        at += n
        if six:
            out[at] = 93
            at += 1
        if client.peer_port:
            out[at] = 58
            at += 1
            at += write_decimal(out + at, client.peer_port)
        return at

    cdef int other_value(self, int code, Served x) except -1:
        cdef const fgw_img_origin *origins
        cdef fgw_span name
        cdef ClientSide client
        if code == OP_REJECT_REASON and x.reject_reason:
            return self.plain(fgw_reason_name(x.reject_reason))
        if code == OP_ATTEMPTS and x.attempts:
            return self.number(<uint64_t>x.attempts)
        if code == OP_LISTENER:
            client = x.client_side()
            return self.escaped(<const char *>client.listener_name, <size_t>len(client.listener_name))
        if x.image is None or x.route.rule == FGW_NONE:
            return 0
        if code == OP_ROUTE_NAME:
            name = x.image.rules[x.route.rule].name
            return self.escaped(x.image.strings + name.off, name.len)
        if code == OP_VIRTUAL_SERVICE:
            origins = x.image.origins
            name = origins[x.image.rules[x.route.rule].virtual_service].name
            return self.escaped(x.image.strings + name.off, name.len)
        return 0

    cdef int request_header(self, const Op *op, Exchange x) except -1:
        cdef const fgw_field *f
        if not x.head.present:
            return 0
        f = find_field(x.head.base, x.head.fields, x.head.field_count, op.header_id, op.arg, op.arg_len)
        if f == NULL and op.alt_len:
            f = find_field(x.head.base, x.head.fields, x.head.field_count, op.alt_id, op.alt, op.alt_len)
        if f == NULL:
            return 0
        return self.escaped(x.head.base + f.value_off, f.value_len)

    cdef int response_header(self, const Op *op, Exchange x) except -1:
        cdef const char *p
        cdef uint32_t i, length
        if x.kept_response is None or x.kept_response.size() == 0:
            return 0
        p = x.kept_response.head()
        for i in range(op.ordinal + 1):
            memcpy(&length, p, sizeof(length))
            p += sizeof(length)
            if i == op.ordinal and length:
                return self.escaped(p, length - 1)
            if length:
                p += length - 1
        return 0

    cdef int flag_names(self, uint32_t flags) except -1:
        cdef int i
        for i in range(13):
            if flags & FLAG_NAMES[i].bit:
                if self.wrote:
                    self.out.append(b",", 1)
                self.plain(FLAG_NAMES[i].name)
        return 0

    cdef int start_time(self, const Op *op, Served x) except -1:
        """strftime in UTC; %3f, %6f and %9f are fractions of the second, %s the seconds since the epoch."""
        cdef char text[128]
        cdef char fraction[16]
        cdef tm parts
        cdef time_t seconds = x.start_wall_ns // 1000000000
        cdef int64_t left = x.start_wall_ns % 1000000000
        cdef size_t n, i
        cdef size_t digits
        gmtime_r(&seconds, &parts)
        self.wrote = True
        if op.arg_len == 0:
            n = strftime(text, sizeof(text), b"%Y-%m-%dT%H:%M:%S.", &parts)
            self.out.append(text, n)
            fraction_of(fraction, left)
            self.out.append(fraction, 3)
            return self.out.append(b"Z", 1)
        i = 0
        while i < op.arg_len:
            if op.arg[i] != 37 or i + 1 >= op.arg_len:
                self.out.append(op.arg + i, 1)
                i += 1
                continue
            if i + 2 < op.arg_len and 49 <= op.arg[i + 1] <= 57 and op.arg[i + 2] == 102:
                digits = op.arg[i + 1] - 48
                fraction_of(fraction, left)
                self.out.append(fraction, digits)
                i += 3
                continue
            self.conversion(op.arg[i + 1], &parts, seconds)
            i += 2
        return 0

    cdef int conversion(self, char letter, const tm *parts, time_t seconds) except -1:
        cdef char pattern[3]
        cdef char text[64]
        if letter == 115:
            return self.number(<uint64_t>seconds)
        pattern[0] = 37
        pattern[1] = letter
        pattern[2] = 0
        return self.out.append(text, strftime(text, sizeof(text), pattern, parts))

    # ---- writing

    cdef int plain(self, const char *text) except -1:
        if text != NULL and text[0]:
            self.wrote = True
            self.out.append(text, strlen(text))
        return 0

    cdef int number(self, uint64_t n) except -1:
        cdef char text[24]
        self.wrote = True
        return self.out.append(text, write_decimal(text, n))

    cdef int escaped(self, const char *p, size_t n) except -1:
        """Bytes from outside: no line break, quote, control or high byte gets through as it is."""
        cdef size_t i, at = 0
        cdef const char *digits = b"0123456789abcdef"
        cdef char *to
        cdef uint8_t c
        if n == 0:
            return 0
        self.wrote = True
        if n > self.value_max:
            n = self.value_max
        to = self.out.reserve(n * 6)
        for i in range(n):
            c = <uint8_t>p[i]
            if c >= 32 and c < 127 and c != 34 and c != 92:
                to[at] = <char>c
                at += 1
            elif self.json and (c == 34 or c == 92):
                to[at] = 92
                to[at + 1] = <char>c
                at += 2
            elif self.json:
                memcpy(to + at, b"\\u00", 4)
                to[at + 4] = digits[c >> 4]
                to[at + 5] = digits[c & 15]
                at += 6
            else:
                memcpy(to + at, b"\\x", 2)
                to[at + 2] = digits[c >> 4]
                to[at + 3] = digits[c & 15]
                at += 4
        self.out.end += at
        return 0

    cdef int flush_when_due(self) except -1:
        if self.out.size() == 0:
            return 0
        if self.out.size() < FLUSH_BYTES and self.ctx.loop.now_ms - self.oldest_ms < FLUSH_MS:
            return 0
        return self.flush_now()

    cdef int flush_now(self) except -1:
        cdef ssize_t sent
        cdef size_t n
        while self.out.size():
            n = self.out.size()
            if not self.is_file:
                n = whole_lines(self.out.head(), n)
                if not self.ready_for_write():
                    break
            sent = write(self.fd, self.out.head(), n)
            if sent < 0:
                if errno == EINTR:
                    continue
                if errno == EAGAIN:
                    break
                self.drop_all()  # a full disk, a closed pipe: the service goes on
                break
            self.out.consume(<size_t>sent)
        self.oldest_ms = self.ctx.loop.now_ms
        return 0

    cdef bint ready_for_write(self) noexcept:
        cdef pollfd p
        p.fd = self.fd
        p.events = POLLOUT
        p.revents = 0
        return poll(&p, 1, 0) == 1

    cdef int drop_all(self) except -1:
        cdef size_t i
        cdef const char *p = self.out.head()
        for i in range(self.out.size()):
            if p[i] == 10:
                self.ctx.loop.count(FGW_C_LOG_DROPPED)
        return self.out.release()

    def flush(self):
        """Write what waits, now."""
        self.flush_now()


def open_again(fd):
    """The same pipe through a description of our own that never blocks; -1 when it cannot be had (then poll() has to do).
    The one we were given is shared with others, who may rely on its flags."""
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return -1


cdef size_t whole_lines(const char *p, size_t n) noexcept:
    """Length of the whole lines in the first PIECE bytes, which a pipe takes in one piece (PIPE_BUF); of a longer line the
    first PIECE bytes, since more could block."""
    cdef size_t i = PIECE
    if n <= PIECE:
        return n
    while i and p[i - 1] != 10:
        i -= 1
    return i if i else PIECE


cdef int fraction_of(char *out, int64_t ns) noexcept:
    """Nine digits."""
    cdef int i
    for i in range(8, -1, -1):
        out[i] = <char>(48 + ns % 10)
        ns //= 10
    return 0


cdef bint same_name(const char *a, const char *b, size_t n) noexcept:
    """a, in any case, against lower-case b."""
    cdef size_t i
    cdef char c
    for i in range(n):
        c = a[i]
        if 65 <= c <= 90:
            c += 32
        if c != b[i]:
            return False
    return True


cdef const fgw_field *find_field(const char *base, const fgw_field *fields, uint32_t count, int header_id, const char *name,
                                 size_t n) noexcept:
    cdef uint32_t i
    for i in range(count):
        if fields[i].flags & (FGW_FIELD_HIDDEN | FGW_FIELD_LISTED) or fields[i].id != header_id:
            continue
        if fields[i].name_len == n and same_name(base + fields[i].name_off, name, n):
            return &fields[i]
    return NULL


cdef size_t format_endpoint(const Address *a, char *out) noexcept:
    cdef size_t n
    if a.family == FGW_FAMILY_UNIX:
        memcpy(out, a.path, a.path_len)
        return a.path_len
    if a.family == FGW_FAMILY_IPV4:
        inet_ntop(AF_INET, a.ip, out, 64)
        n = strlen(out)
    else:
        out[0] = 91
        inet_ntop(AF_INET6, a.ip, out + 1, 64)
        n = strlen(out)
        out[n] = 93
        n += 1
    out[n] = 58
    return n + 1 + write_decimal(out + n + 1, a.port)
