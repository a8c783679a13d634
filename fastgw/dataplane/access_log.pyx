"""The access log: one line for each finished exchange, formatted by a flat program, written in batches.

The program is made by the control side (fastgw.model.log_program). Bytes from outside are escaped, so that one request is
one line whatever a client sends. Lines collect in a buffer and go out at the end of a turn, at the latest FLUSH_MS later. A
sink that does not take them (a full disk, a stuck pipe) never blocks the worker: lines are dropped and counted.
"""
from libc.stdint cimport int64_t, uint32_t

import os
import stat

import cython

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.log_line cimport LogLine
from fastgw.dataplane.loop cimport Turn
from fastgw.dataplane.served cimport Served
from fastgw.dataplane.streams cimport ExchangeObserver, ResponseHead
from fastgw.dataplane.values cimport VALUE_MAX, Piece
from fastgw.native.base cimport fgw_field
from fastgw.native.fields cimport fgw_find_field
from fastgw.native.route cimport FGW_VALUE_RESPONSE_HEADER
from fastgw.native.state cimport FGW_C_LOG_DROPPED, FGW_C_LOG_LINES
from fastgw.native.system cimport EAGAIN, EINTR, POLLOUT, close, errno, poll, pollfd, write

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
    cdef LogLine line
    cdef int fd
    cdef int own_fd                # a pipe opened once more without blocking, -1: none
    cdef bint is_file
    cdef int64_t oldest_ms         # when the first waiting line was written

    def __cinit__(self):
        self.own_fd = -1

    def __init__(self, Context ctx, int fd, program):
        cdef LogFlush hook = LogFlush()
        self.ctx = ctx
        self.out = Buffer()
        self.line = LogLine(self.out, program)
        self.wants_response = self.line.response_pieces != 0
        self.wants_local = self.line.wants_local
        self.use(fd)
        hook.log = self
        ctx.loop.hooks.append(hook)

    def __dealloc__(self):
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
        for i in range(self.line.piece_count):
            piece = &self.line.pieces[i]
            if piece.code != FGW_VALUE_RESPONSE_HEADER:
                continue
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
            self.line.write(x)
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
