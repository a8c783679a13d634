"""The access log: one line for each finished exchange, formatted by a flat program, written in batches.

The program is made by the control side (fastgw.model.log_program). Bytes from outside are escaped, so that one request is
one line whatever a client sends. Lines collect in a buffer and go out at the end of a turn, at the latest FLUSH_MS later. A
sink that does not take them (a full disk, a stuck pipe) never blocks the worker: lines are dropped and counted.
"""
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free

import os
import stat

import cython

from fastgw.dataplane.buffers cimport SHORT, Buffer
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.loop cimport Turn
from fastgw.dataplane.served cimport Served
from fastgw.dataplane.streams cimport ExchangeObserver, ResponseHead
from fastgw.dataplane.values cimport STYLE_JSON, STYLE_LOG, VALUE_MAX, Op, Piece, Values
from fastgw.native.base cimport fgw_field, fgw_header_id_of
from fastgw.native.fields cimport fgw_find_field
from fastgw.native.route cimport (
    FGW_VALUE_REQUEST_HEADER, FGW_VALUE_RESPONSE_HEADER, FGW_VALUE_TEXT, FGW_VALUE_UPSTREAM_LOCAL_ADDRESS,
)
from fastgw.native.state cimport FGW_C_LOG_DROPPED, FGW_C_LOG_LINES
from fastgw.native.system cimport EAGAIN, EINTR, POLLOUT, close, errno, poll, pollfd, write

from fastgw.model.values import OPERATIONS

CODES = {name: code for code, name in enumerate(OPERATIONS)}

cdef enum:
    FLUSH_BYTES = 65536
    FLUSH_MS = 200
    BLOCK_BYTES = 131072        # the lines of a busy turn come on top
    LIMIT_BYTES = 196608       # lines beyond this are dropped
    PIECE = 4096               # of a pipe: at most what it takes at once when it is writable
    KEPT_MAX = 65536           # of all response fields that are kept for one line

cdef class LogFlush(Turn):
    """Runs at the end of every turn."""
    cdef AccessLog log

    cdef int on_turn_end(self) except -1:
        return self.log.flush_when_due()


@cython.final
cdef class AccessLog(ExchangeObserver):
    cdef Context ctx
    cdef Buffer out
    cdef Op *ops                   # their pointers go into `kept`
    cdef int op_count
    cdef list kept                 # keeps the bytes that ops point at
    cdef int fd
    cdef int own_fd                # a pipe opened once more without blocking, -1: none
    cdef bint is_file
    cdef Values values
    cdef int64_t oldest_ms         # when the first waiting line was written
    cdef uint32_t response_ops

    def __cinit__(self):
        self.own_fd = -1

    def __init__(self, Context ctx, int fd, program):
        cdef LogFlush hook = LogFlush()
        self.ctx = ctx
        self.out = Buffer()
        self.values = Values(self.out, STYLE_LOG)
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
        """Literal texts go to the value that follows them, as do limits and the switches of style."""
        cdef int style = STYLE_LOG
        cdef size_t value_max = VALUE_MAX
        self.ops = <Op *>calloc(len(program) + 1, sizeof(Op))
        if self.ops == NULL:
            raise MemoryError("access log program")
        lead = ""
        for name, arg in program:
            if name == "text":
                lead += arg
            elif name == "json":
                style = STYLE_JSON if arg == "ON" else STYLE_LOG
            elif name == "limit":
                value_max = min(int(arg), VALUE_MAX)
            elif name in CODES:
                self.add_op(lead, CODES[name], arg, style, value_max)
                lead, value_max = "", VALUE_MAX
            else:
                raise ValueError(f"access log program: {name}")
        self.add_op(lead, FGW_VALUE_TEXT, "", style, value_max)
        self.wants_response = self.response_ops != 0

    cdef int add_op(self, str lead, int code, str arg, int style, size_t value_max) except -1:
        cdef Op *op = &self.ops[self.op_count]
        first, _, other = arg.partition("?") if code in (FGW_VALUE_REQUEST_HEADER, FGW_VALUE_RESPONSE_HEADER) else (arg, "", "")
        self.op_count += 1
        op.style, op.value_max = style, value_max
        op.piece.code = code
        self.keep(lead, &op.lead, &op.lead_len)
        self.keep(first, &op.piece.text, &op.piece.text_len)
        self.keep(other, &op.piece.other, &op.piece.other_len)
        op.piece.header_id = fgw_header_id_of(op.piece.text, op.piece.text_len)
        op.piece.other_id = fgw_header_id_of(op.piece.other, op.piece.other_len)
        if code == FGW_VALUE_RESPONSE_HEADER:
            op.piece.ordinal = self.response_ops
            self.response_ops += 1
        elif code == FGW_VALUE_UPSTREAM_LOCAL_ADDRESS:
            self.wants_local = True
        return 0

    cdef int keep(self, str text, const char **p, size_t *n) except -1:
        cdef bytes data = text.encode("utf-8")
        n[0] = <size_t>len(data)
        data += bytes(SHORT)
        self.kept.append(data)
        p[0] = data
        return 0

    # ---- what is recorded

    cdef int on_response(self, Exchange x, const ResponseHead *head) except -1:
        """Keep the values of the response fields that the program wants: length + 1 and bytes each, 0 for a missing one."""
        cdef int i
        cdef const Piece *piece
        cdef const fgw_field *f
        cdef uint32_t length
        if x.kept_response is None:
            x.kept_response = Buffer()
        x.kept_response.release()
        for i in range(self.op_count):
            if self.ops[i].piece.code != FGW_VALUE_RESPONSE_HEADER:
                continue
            piece = &self.ops[i].piece
            f = fgw_find_field(head.base, head.fields, head.field_count, piece.header_id, piece.text, piece.text_len)
            if f == NULL and piece.other_len:
                f = fgw_find_field(head.base, head.fields, head.field_count, piece.other_id, piece.other, piece.other_len)
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
            self.out.reserve(BLOCK_BYTES)
        try:
            self.values.line(self.ops, self.op_count, x)
        except OverflowError:  # the line is longer than the room that is left
            self.out.end = self.out.start + before
            self.ctx.loop.count(FGW_C_LOG_DROPPED)
            if before == 0:
                self.out.release()
            return 0
        self.ctx.loop.count(FGW_C_LOG_LINES)
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
