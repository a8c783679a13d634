"""A line of the access log for what was served, by the program that its format has become (fastgw.model.log_program).

Of a request, what most formats ask for is laid out once and written by one loop (ext/src/log_line.c). Other values, and those of
relayed connections, are written one by one as the values of header fields are.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, strlen

import cython

from fastgw.dataplane.request_head cimport RequestHead
from fastgw.dataplane.values cimport START_BYTES, STYLE_JSON, STYLE_LOG, VALUE_MAX, write_endpoint, write_flags, write_remote
from fastgw.native.base cimport fgw_field, fgw_header_id_of, fgw_span
from fastgw.native.log_line cimport (
    FGW_LOG_ATTEMPTS, FGW_LOG_AUTHORITY, FGW_LOG_CLIENT, FGW_LOG_CODE, FGW_LOG_DETAILS, FGW_LOG_DOWNSTREAM_LOCAL,
    FGW_LOG_DOWNSTREAM_REMOTE, FGW_LOG_DURATION, FGW_LOG_FIELD, FGW_LOG_FIELDS, FGW_LOG_FLAGS, FGW_LOG_LEAD, FGW_LOG_METHOD,
    FGW_LOG_MISSING, FGW_LOG_NEVER, FGW_LOG_NOTHING, FGW_LOG_NUMBER, FGW_LOG_OTHER, FGW_LOG_PATH, FGW_LOG_PROTOCOL,
    FGW_LOG_RECEIVED, FGW_LOG_REQUEST_ID, FGW_LOG_ROUTE_NAME, FGW_LOG_SENT, FGW_LOG_SERVER_NAME, FGW_LOG_SERVICE_TIME,
    FGW_LOG_START_TIME, FGW_LOG_TEXT, FGW_LOG_TEXTS, FGW_LOG_TRANSPORT_FAILURE, FGW_LOG_UPSTREAM_CLUSTER, FGW_LOG_UPSTREAM_HOST,
    FGW_LOG_UPSTREAM_LOCAL, FGW_LOG_VIRTUAL_SERVICE, fgw_log_text, fgw_log_write,
)
from fastgw.native.route cimport (
    FGW_FAMILY_UNIX, FGW_NONE, FGW_VALUE_REQUEST_HEADER, FGW_VALUE_RESPONSE_HEADER, FGW_VALUE_START_TIME, FGW_VALUE_TEXT,
    FGW_VALUE_UPSTREAM_LOCAL_ADDRESS, fgw_img_rule,
)

from fastgw.model.values import OPERATIONS

CODES = {name: code for code, name in enumerate(OPERATIONS)}
TEXTS = {
    "method": FGW_LOG_METHOD, "path": FGW_LOG_PATH, "protocol": FGW_LOG_PROTOCOL, "authority": FGW_LOG_AUTHORITY,
    "request_id": FGW_LOG_REQUEST_ID, "flags": FGW_LOG_FLAGS, "details": FGW_LOG_DETAILS, "termination_details": FGW_LOG_NEVER,
    "transport_failure": FGW_LOG_TRANSPORT_FAILURE, "upstream_host": FGW_LOG_UPSTREAM_HOST,
    "upstream_cluster": FGW_LOG_UPSTREAM_CLUSTER, "upstream_local_address": FGW_LOG_UPSTREAM_LOCAL,
    "downstream_local_address": FGW_LOG_DOWNSTREAM_LOCAL, "downstream_remote_address": FGW_LOG_DOWNSTREAM_REMOTE,
    "downstream_remote_address_without_port": FGW_LOG_CLIENT, "requested_server_name": FGW_LOG_SERVER_NAME,
    "route_name": FGW_LOG_ROUTE_NAME, "virtual_service": FGW_LOG_VIRTUAL_SERVICE,
}
NUMBERS = {
    "code": FGW_LOG_CODE, "bytes_received": FGW_LOG_RECEIVED, "bytes_sent": FGW_LOG_SENT, "duration": FGW_LOG_DURATION,
    "upstream_service_time": FGW_LOG_SERVICE_TIME, "attempts": FGW_LOG_ATTEMPTS,
}


cdef inline void place(fgw_log_text *to, const char *p, size_t n) noexcept:
    to.p = p
    to.n = n


cdef inline void place_kept(fgw_log_text *to, bytes text) noexcept:
    if text is None:
        to.n = 0
    else:
        place(to, <const char *>text, <size_t>len(text))


@cython.final
@cython.nonecheck(False)  # as in values.pyx
cdef class LogLine:
    def __init__(self, Buffer out, program):
        self.values = Values(out, STYLE_LOG)
        self.kept = []
        self.compile(program)

    def __dealloc__(self):
        free(self.ops)
        free(self.pieces)

    # ---- the program

    def compile(self, program):
        """Literal texts go to the value that follows them, as do limits and the switches of style."""
        cdef bint json = False
        cdef size_t most = VALUE_MAX
        cdef size_t room = 1 + len(program) + sum(len(arg.encode()) for name, arg in program if name == "text") // FGW_LOG_LEAD
        self.ops = <fgw_log_op *>calloc(room + 1, sizeof(self.ops[0]))
        self.pieces = <Piece *>calloc(len(program) + 1, sizeof(Piece))
        if self.ops == NULL or self.pieces == NULL:
            raise MemoryError("access log program")
        lead = ""
        for name, arg in program:
            if name == "text":
                lead += arg
            elif name == "json":
                json = arg == "ON"
            elif name == "limit":
                most = min(int(arg), VALUE_MAX)
            elif name in CODES:
                self.add(lead, CODES[name], arg, json, most)
                lead, most = "", VALUE_MAX
            else:
                raise ValueError(f"access log program: {name}")
        self.add(lead, FGW_VALUE_TEXT, "", json, most)

    cdef int add(self, str lead, int code, str arg, bint json, size_t most) except -1:
        """A value (FGW_VALUE_TEXT: none) with the text before it."""
        cdef bytes data = lead.encode("utf-8")
        cdef const char *p = data
        cdef size_t n = <size_t>len(data), part
        cdef fgw_log_op *op
        while True:
            op = &self.ops[self.op_count]
            self.op_count += 1
            part = min(n, <size_t>FGW_LOG_LEAD)
            memcpy(op.lead, p, part)
            op.lead_len = <unsigned char>part
            p += part
            n -= part
            if n == 0:
                break
        op.json = json
        op.most = <unsigned short>most
        op.piece = <unsigned short>self.piece_count
        return 0 if code == FGW_VALUE_TEXT else self.settle(op, code, arg)

    cdef int settle(self, fgw_log_op *op, int code, str arg) except -1:
        """Who writes the value."""
        cdef str name = OPERATIONS[code]
        if op.most == 0:
            op.kind = FGW_LOG_OTHER  # nothing is written of it, but it is not missing
        elif name in NUMBERS:
            op.kind, op.slot = FGW_LOG_NUMBER, NUMBERS[name]
        elif name in TEXTS or code == FGW_VALUE_START_TIME and not arg:
            op.kind, op.slot = FGW_LOG_TEXT, TEXTS.get(name, FGW_LOG_START_TIME)
            self.wanted |= <uint32_t>1 << op.slot
        elif code == FGW_VALUE_REQUEST_HEADER and self.field_count < FGW_LOG_FIELDS and "?:" not in arg:
            op.kind, op.slot = FGW_LOG_TEXT, FGW_LOG_FIELD + self.field_count
            self.fields[self.field_count] = self.piece_count
            self.field_count += 1
        else:
            op.kind = FGW_LOG_OTHER
        return self.add_piece(code, arg)

    cdef int add_piece(self, int code, str arg) except -1:
        cdef Piece *piece = &self.pieces[self.piece_count]
        first, _, other = arg.partition("?") if code in (FGW_VALUE_REQUEST_HEADER, FGW_VALUE_RESPONSE_HEADER) else (arg, "", "")
        self.piece_count += 1
        piece.code = code
        self.keep(first, &piece.text, &piece.text_len)
        self.keep(other, &piece.other, &piece.other_len)
        piece.header_id = fgw_header_id_of(piece.text, piece.text_len)
        piece.other_id = fgw_header_id_of(piece.other, piece.other_len)
        if code == FGW_VALUE_RESPONSE_HEADER:
            piece.ordinal = self.response_pieces
            self.response_pieces += 1
        elif code == FGW_VALUE_UPSTREAM_LOCAL_ADDRESS:
            self.wants_local = True
        return 0

    cdef int keep(self, str text, const char **p, size_t *n) except -1:
        cdef bytes data = text.encode("utf-8")
        self.kept.append(data)
        p[0] = data
        n[0] = <size_t>len(data)
        return 0

    # ---- writing

    cdef int write(self, Served x) except -1:
        """Append a line, "-" for missing values. OverflowError when it is longer than the buffer has room for."""
        cdef const fgw_log_op *op = self.ops
        cdef const fgw_log_op *end = op + self.op_count
        cdef Exchange exchange = <Exchange>x if isinstance(x, Exchange) else None
        cdef ClientSide client = x.client_side()
        cdef Values values = self.values
        values.down()
        if exchange is not None:
            self.lay_out(exchange)
            op = fgw_log_write(op, end, &self.known, &values.at, values.stop)
        while op < end:
            self.write_op(op, x, exchange, client)
            op += 1
            if exchange is not None:
                op = fgw_log_write(op, end, &self.known, &values.at, values.stop)
        return values.lift()

    cdef int write_op(self, const fgw_log_op *op, Served x, Exchange exchange, ClientSide client) except -1:
        cdef Values values = self.values
        values.put(op.lead, op.lead_len)
        if op.kind == FGW_LOG_NOTHING:
            return 0
        values.style, values.value_max = STYLE_JSON if op.json else STYLE_LOG, op.most
        values.wrote = False
        values.value(&self.pieces[op.piece], x, exchange, client)
        return 0 if values.wrote else values.put(b"-", 1)

    # ---- what is known of a request

    cdef int lay_out(self, Exchange x) except -1:
        cdef fgw_log_text *texts = self.known.texts
        cdef uint64_t *numbers = self.known.numbers
        numbers[FGW_LOG_CODE] = x.status
        numbers[FGW_LOG_RECEIVED] = x.bytes_received
        numbers[FGW_LOG_SENT] = x.bytes_sent
        numbers[FGW_LOG_DURATION] = <uint64_t>((x.end_ns - x.start_ns) // 1000000)
        numbers[FGW_LOG_SERVICE_TIME] = <uint64_t>x.service_time_ms if x.service_time_ms >= 0 else FGW_LOG_MISSING
        numbers[FGW_LOG_ATTEMPTS] = <uint64_t>x.attempts if x.attempts else FGW_LOG_MISSING
        if self.wanted & 1 << FGW_LOG_START_TIME:
            place(&texts[FGW_LOG_START_TIME], self.values.start_text(x.start_wall_ns), START_BYTES)
        place(&texts[FGW_LOG_FLAGS], self.flags_text, write_flags(self.flags_text, x.flags) if x.flags else 0)
        place(&texts[FGW_LOG_DETAILS], x.details, strlen(x.details) if x.details != NULL else 0)
        place_kept(&texts[FGW_LOG_TRANSPORT_FAILURE], x.transport_failure)
        self.lay_out_request(x)
        self.lay_out_upstream(x)
        return self.lay_out_client(x.client, x)

    cdef int lay_out_request(self, Exchange x) except -1:
        cdef RequestHead head = x.head
        cdef fgw_log_text *texts = self.known.texts
        cdef const Piece *piece
        cdef const fgw_field *f
        cdef int i
        if not head.present:
            for i in range(FGW_LOG_METHOD, FGW_LOG_REQUEST_ID + 1):
                texts[i].n = 0
            for i in range(FGW_LOG_FIELD, FGW_LOG_TEXTS):
                texts[i].n = 0
            return 0
        place(&texts[FGW_LOG_METHOD], head.base + head.req.method.off, head.req.method.len)
        place(&texts[FGW_LOG_PATH], head.base + head.req.target.off, head.req.target.len)
        place(&texts[FGW_LOG_AUTHORITY], head.base + head.req.authority.off, head.req.authority.len)
        place(&texts[FGW_LOG_REQUEST_ID], head.base + head.request_id_at, 36 if head.request_id_at else 0)
        if x.client is not None and x.client.http2:
            place(&texts[FGW_LOG_PROTOCOL], b"HTTP/2", 6)
        else:
            place(&texts[FGW_LOG_PROTOCOL], b"HTTP/1.1" if head.req.minor else b"HTTP/1.0", 8)
        for i in range(self.field_count):
            piece = &self.pieces[self.fields[i]]
            f = head.find(piece.header_id, piece.text, piece.text_len)
            if f == NULL and piece.other_len:
                f = head.find(piece.other_id, piece.other, piece.other_len)
            place(&texts[FGW_LOG_FIELD + i], head.base + f.value_off if f != NULL else NULL, f.value_len if f != NULL else 0)
        return 0

    cdef int lay_out_upstream(self, Exchange x) except -1:
        """And the names of what was decided."""
        cdef fgw_log_text *texts = self.known.texts
        cdef const fgw_img_rule *rule
        cdef fgw_span name
        texts[FGW_LOG_UPSTREAM_HOST].n = texts[FGW_LOG_UPSTREAM_CLUSTER].n = 0
        texts[FGW_LOG_ROUTE_NAME].n = texts[FGW_LOG_VIRTUAL_SERVICE].n = 0
        place(&texts[FGW_LOG_UPSTREAM_LOCAL], x.upstream_local, <size_t>x.upstream_local_len)
        if x.attempts and x.address.family == FGW_FAMILY_UNIX:
            place(&texts[FGW_LOG_UPSTREAM_HOST], x.address.path, x.address.path_len)
        elif x.attempts and self.wanted & 1 << FGW_LOG_UPSTREAM_HOST:
            place(&texts[FGW_LOG_UPSTREAM_HOST], self.host_text, write_endpoint(self.host_text, &x.address))
        if x.image is None:
            return 0
        place(&texts[FGW_LOG_UPSTREAM_CLUSTER], x.image.strings + x.cluster_name.off, x.cluster_name.len)
        if x.route.rule == FGW_NONE:
            return 0
        rule = &x.image.rules[x.route.rule]
        place(&texts[FGW_LOG_ROUTE_NAME], x.image.strings + rule.name.off, rule.name.len)
        name = x.image.origins[rule.virtual_service].name
        place(&texts[FGW_LOG_VIRTUAL_SERVICE], x.image.strings + name.off, name.len)
        return 0

    cdef int lay_out_client(self, ClientSide client, Exchange x) except -1:
        """A mirror's copy of a request is for nobody."""
        cdef RequestHead head = x.head
        cdef fgw_log_text *texts = self.known.texts
        cdef uint32_t wanted = self.wanted
        if client is None:
            texts[FGW_LOG_DOWNSTREAM_LOCAL].n = texts[FGW_LOG_DOWNSTREAM_REMOTE].n = 0
            texts[FGW_LOG_CLIENT].n = texts[FGW_LOG_SERVER_NAME].n = 0
            return 0
        place(&texts[FGW_LOG_CLIENT], head.remote, head.remote_len)
        place_kept(&texts[FGW_LOG_SERVER_NAME], client.server_name)
        if client.local_len:
            place(&texts[FGW_LOG_DOWNSTREAM_LOCAL], client.local, <size_t>client.local_len)
        elif wanted & 1 << FGW_LOG_DOWNSTREAM_LOCAL:
            place(&texts[FGW_LOG_DOWNSTREAM_LOCAL], self.local_text, <size_t>client.local_address(self.local_text))
        if wanted & 1 << FGW_LOG_DOWNSTREAM_REMOTE:
            place(&texts[FGW_LOG_DOWNSTREAM_REMOTE], self.remote_text, write_remote(self.remote_text, client, head))
        return 0
