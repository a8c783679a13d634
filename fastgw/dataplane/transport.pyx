"""TCP (and unix) byte streams over epoll, edge-triggered, with recv and send tried at once.

Received bytes lie in the loop's scratch buffer during on_data() and nowhere else: a protocol that cannot use them yet keeps
its own copy. So an idle connection holds no receive buffer. A short read means the socket was read dry, unless a hang-up
was announced; then one more recv() fetches the FIN.

Errors of send are reported through on_closed() at the end of the turn, never from inside write(), so that no protocol
is called back while it is in the middle of a call.
"""
from libc.stdint cimport uint32_t, uint64_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.loop cimport SCRATCH_BYTES, Loop, Timer, Turn, Watcher
from fastgw.dataplane.pipes cimport Pipe
from fastgw.native.system cimport (
    EAGAIN, ECONNRESET, EINTR, EINVAL, EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, IPPROTO_TCP, MSG_MORE,
    MSG_NOSIGNAL, SHUT_WR, SO_ERROR, SO_KEEPALIVE, SO_LINGER, SOL_SOCKET, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, errno,
    getsockopt, iovec_, linger_, msghdr, recv, send, sendmsg, setsockopt, shutdown, socklen_t,
)

cdef enum:
    READS_PER_TURN = 8       # of one connection before others get their turn
    KEEPALIVE_S = 60         # requirement H15
    COPY_BELOW = 4096        # bytes of a body piece; copying less is cheaper than another system call


cdef class Protocol(Timer):
    cdef int on_connected(self) except -1:
        """The upstream connection is established."""
        return 0

    cdef int on_data(self, const char *p, size_t n) except -1:
        """n >= 1 bytes, valid during the call only."""
        raise NotImplementedError

    cdef Pipe pipe_for_input(self):
        """Of a transport that is `piped`: an empty pipe for what comes next, None to copy from now on."""
        return None

    cdef int on_piped(self, size_t n) except -1:
        """n >= 1 bytes went into that pipe."""
        raise NotImplementedError

    cdef int on_input_dry(self) except -1:
        """Nothing more is there to be read, and the pipe has stayed empty."""
        return 0

    cdef int on_eof(self) except -1:
        """The peer will send no more."""
        raise NotImplementedError

    cdef int on_writable(self) except -1:
        """Everything that was queued has been sent."""
        return 0

    cdef int on_closed(self, int reason, int error) except -1:
        """The transport is gone (CloseReason, errno or 0). Not called for the protocol's own close() or reset()."""
        raise NotImplementedError


cdef class ReadAgain(Turn):
    """Goes on reading after others had their turn, or reports a failed send."""

    cdef int on_turn_end(self) except -1:
        cdef Transport t = self.transport
        if t is None or t.fd < 0:
            return 0
        try:
            if t.failed:
                t.read_rest()
                t.lose(CLOSE_RESET, t.error)
            elif t.readable and not t.paused:
                t.read_ready()
        except BaseException:
            t.loop.report_bug()
            t.on_bug()
        return 0


cdef class Transport(Watcher):
    def __cinit__(self):
        self.out = Buffer()  # here: open() does not fail for want of memory before the descriptor has an owner
        self.again = ReadAgain()

    cdef int open(self, Loop loop, int fd, Protocol protocol, bint connecting) except -1:
        """Take over a non-blocking descriptor. With connecting, on_connected() or on_closed() follows."""
        self.loop = loop
        self.fd = fd
        self.protocol = protocol
        self.connecting = connecting
        self.again.transport = self
        # after connect() in progress nothing may be sent before EPOLLOUT; an accepted socket is tried at once
        loop.add(self, <uint32_t>(EPOLLIN | EPOLLOUT | EPOLLRDHUP) | <uint32_t>EPOLLET)
        return 0

    # ---- reading

    cdef int on_events(self, uint32_t events) except -1:
        cdef Protocol protocol = self.protocol  # alive until this event is done with
        if self.connecting:
            if self.finish_connect(events) or self.fd < 0 or self.connecting:
                return 0
        if events & EPOLLERR and not self.failed:
            self.read_rest()
            return self.lose(CLOSE_RESET, ECONNRESET)
        if events & (EPOLLRDHUP | EPOLLHUP):
            self.hangup = True
        if events & EPOLLOUT and self.write_blocked:
            self.write_blocked = False
            self.send_queue()
            if self.fd < 0:  # finish() had been asked for, and the last byte is out
                return protocol.on_closed(CLOSE_LOCAL, 0)
            if not self.failed and self.queued() == 0:
                protocol.on_writable()
        if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP) and self.fd >= 0:
            self.readable = True
            if not self.paused:
                return self.read_ready()
            if events & EPOLLHUP and not self.keeps_unread:  # both directions are gone
                return self.lose(CLOSE_RESET, ECONNRESET)
        return 0

    cdef int finish_connect(self, uint32_t events) except -1:
        """Go on with what comes before the protocol may send. 1: the events are done with."""
        cdef int error = 0
        cdef socklen_t n = sizeof(error)
        if not events & (EPOLLOUT | EPOLLERR | EPOLLHUP):
            return 0
        if events & (EPOLLERR | EPOLLHUP) and getsockopt(self.fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0:
            error = errno
        if error:
            return self.lose(CLOSE_CONNECT_FAILED, error)
        if not self.send_preface():
            return 1
        self.connecting = False
        self.protocol.on_connected()
        return 0

    cdef int send_preface(self) except -1:
        """0: the connection is lost. The empty buffer of a new socket takes the few bytes whole."""
        cdef const char *p
        cdef size_t n
        if self.preface is None:
            return 1
        p, n = self.preface, <size_t>len(self.preface)
        self.preface = None
        if send(self.fd, p, n, MSG_NOSIGNAL) != <ssize_t>n:
            self.lose(CLOSE_CONNECT_FAILED, errno)
            return 0
        return 1

    cdef int read_ready(self) except -1:
        """Read until dry, paused, closed, or others should have their turn."""
        cdef Loop loop = self.loop
        cdef Protocol protocol
        cdef Pipe pipe
        cdef ssize_t n
        cdef int reads = 0
        while self.readable and not self.paused and self.fd >= 0 and not self.failed:
            if reads == READS_PER_TURN:
                loop.at_turn_end(self.again)
                return 0
            reads += 1
            protocol = self.protocol  # may have changed hands
            if self.piped:
                pipe = protocol.pipe_for_input()
                if pipe is None:
                    self.piped = False
                    continue
                n = pipe.fill(self.fd)
            else:
                n = recv(self.fd, loop.scratch, SCRATCH_BYTES, 0)
            if n > 0:
                self.received(protocol, n)
            elif n == 0:
                self.readable = False
                self.eof = True
                return protocol.on_eof()
            elif errno == EAGAIN:
                self.readable = False
                if self.piped:
                    protocol.on_input_dry()
            elif self.piped and errno == EINVAL:  # not with this kind of socket
                self.piped = False
                protocol.on_input_dry()
            elif errno != EINTR:
                return self.lose(CLOSE_RESET, errno)
        return 0

    cdef int received(self, Protocol protocol, ssize_t n) except -1:
        self.loop.count_add(self.counter_in, <uint64_t>n)
        if self.piped:
            return protocol.on_piped(<size_t>n)
        if n < SCRATCH_BYTES and not self.hangup:
            self.readable = False
        return protocol.on_data(self.loop.scratch, <size_t>n)

    cdef int read_rest(self) except -1:
        """The connection is broken, but bytes that came before may be an answer that explains it (requirement H8)."""
        cdef Loop loop = self.loop
        cdef Protocol protocol = self.protocol
        cdef ssize_t n
        self.hangup = True
        while self.reads_rest and not self.paused and self.fd >= 0:
            n = recv(self.fd, loop.scratch, SCRATCH_BYTES, 0)
            if n <= 0:
                break
            loop.count_add(self.counter_in, <uint64_t>n)
            protocol.on_data(loop.scratch, <size_t>n)
        return 0

    cdef bint may_hold_more(self) noexcept:
        """Within on_data(): bytes behind these may have come already."""
        return self.readable

    cdef int pause_reading(self) except -1:
        """Stop calling on_data() until resume_reading(): the kernel's buffer fills and the peer is slowed down."""
        self.paused = True
        return 0

    cdef int resume_reading(self) except -1:
        """Reading goes on at the end of this turn."""
        if self.paused:
            self.paused = False
            if self.readable and self.fd >= 0:
                self.loop.at_turn_end(self.again)
        return 0

    # ---- writing

    cdef ssize_t raw_send(self, const char *p, size_t n) noexcept:
        return send(self.fd, p, n, MSG_NOSIGNAL | MSG_MORE if self.more_follows else MSG_NOSIGNAL)

    cdef ssize_t raw_sendmsg(self, const msghdr *msg) noexcept:
        return sendmsg(self.fd, msg, MSG_NOSIGNAL)

    cdef int write(self, const char *p, size_t n) except -1:
        """Queue a copy of n bytes; flush() sends."""
        if self.failed or self.fd < 0 or n == 0:
            return 0
        if self.queued() == 0:
            self.progress_ms = self.loop.now_ms
        return self.out.append(p, n)

    cdef int write_piece(self, const char *p, size_t n, const char *tail, size_t tail_len) except -1:
        """A piece of a body: a small one is copied behind what is queued, a large one is sent from where it lies."""
        if n < COPY_BELOW:
            self.write(p, n)
            return self.write(tail, tail_len)
        return self.write_now(p, n, tail, tail_len)

    cdef int write_now(self, const char *p, size_t n, const char *tail, size_t tail_len) except -1:
        """Send what is queued, then p and tail, without copying what the socket takes at once."""
        cdef iovec_ iov[3]
        cdef msghdr msg
        cdef size_t queued = self.out.end - self.out.start
        if self.failed or self.fd < 0:
            return 0
        if self.write_blocked or self.connecting:
            self.out.append(p, n)
            return self.out.append(tail, tail_len)
        self.progress_ms = self.loop.now_ms
        if queued == 0 and tail_len == 0:
            return self.account(self.raw_send(p, n), p, n, NULL, 0)
        iov[0].iov_base = self.out.data + self.out.start
        iov[0].iov_len = queued
        iov[1].iov_base = <void *>p
        iov[1].iov_len = n
        iov[2].iov_base = <void *>tail
        iov[2].iov_len = tail_len
        msg.msg_name = NULL
        msg.msg_namelen = 0
        msg.msg_iov = iov
        msg.msg_iovlen = 3
        msg.msg_control = NULL
        msg.msg_controllen = 0
        msg.msg_flags = 0
        return self.account(self.raw_sendmsg(&msg), p, n, tail, tail_len)

    cdef int account(self, ssize_t sent, const char *p, size_t n, const char *tail, size_t tail_len) except -1:
        """Of what was queued, p and tail, `sent` bytes have been sent (-1: errno says why not): the rest is queued."""
        cdef size_t left
        cdef size_t queued = self.out.end - self.out.start
        if sent < 0:
            if errno != EAGAIN and errno != EINTR:
                return self.send_failed(errno)
            sent = 0
        self.loop.count_add(self.counter_out, <uint64_t>sent)
        left = <size_t>sent
        if left == queued + n + tail_len:
            return self.out.release()
        self.write_blocked = True
        if left < queued:
            self.out.consume(left)
            left = 0
        else:
            self.out.release()
            left -= queued
        if left < n:
            self.out.append(p + left, n - left)
            return self.out.append(tail, tail_len)
        return self.out.append(tail + (left - n), tail_len - (left - n))

    cdef int write_pipe(self, Pipe pipe) except -1:
        """Send what the pipe holds, as far as the socket takes it; on_writable() follows for the rest. Nothing may be queued."""
        cdef ssize_t sent
        while pipe.held and not self.write_blocked and not self.failed and self.fd >= 0:
            sent = pipe.drain(self.fd)
            if sent > 0:
                self.progress_ms = self.loop.now_ms
                self.loop.count_add(self.counter_out, <uint64_t>sent)
            elif sent == 0:
                raise RuntimeError("a pipe holds less than was put into it")
            elif errno == EAGAIN:
                self.write_blocked = True
            elif errno != EINTR:
                return self.send_failed(errno)
        return 0

    cdef int flush(self) except -1:
        """Send what is queued, as far as the socket takes it."""
        if self.queued() == 0 or self.write_blocked or self.connecting or self.failed or self.fd < 0:
            return 0
        return self.send_queue()

    cdef int send_queue(self) except -1:
        cdef size_t queued = self.out.end - self.out.start
        cdef ssize_t sent
        if queued:
            sent = self.raw_send(self.out.data + self.out.start, queued)
            if sent < 0:
                if errno == EINTR:
                    sent = 0
                elif errno == EAGAIN:
                    self.write_blocked = True
                    return 0
                else:
                    return self.send_failed(errno)
            self.loop.count_add(self.counter_out, <uint64_t>sent)
            if sent:
                self.progress_ms = self.loop.now_ms
            if <size_t>sent < queued:
                self.write_blocked = True
                self.out.consume(<size_t>sent)
                return 0
            self.out.release()
        return self.after_flush()

    cdef int after_flush(self) except -1:
        """Everything is out: what was to follow it."""
        if self.shut_after_flush:
            self.shut_after_flush = False
            self.send_fin()
        if self.close_after_flush:
            return self.close()
        return 0

    cdef int send_fin(self) except -1:
        shutdown(self.fd, SHUT_WR)
        return 0

    cdef int send_failed(self, int error) except -1:
        self.failed = True
        self.error = error
        self.out.release()
        self.loop.at_turn_end(self.again)
        return 0

    cdef int watch_peer(self) except -1:
        """For connections that may be silent for hours: the kernel asks whether the peer still exists."""
        cdef int on = 1, idle = KEEPALIVE_S, every = KEEPALIVE_S // 3, times = 3
        setsockopt(self.fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on))
        setsockopt(self.fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle))
        setsockopt(self.fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every))
        setsockopt(self.fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof(times))
        return 0

    # ---- ending

    cdef int shut(self) except -1:
        """Send a FIN after what is queued; reading goes on."""
        if self.fd < 0 or self.failed:
            return 0
        if self.queued() == 0:
            self.send_fin()
        else:
            self.shut_after_flush = True
            self.flush()
        return 0

    cdef int finish(self) except -1:
        """Close after what is queued has been sent; nothing more is read. When that takes longer than this call, on_closed()
        follows."""
        if self.fd < 0:
            return 0
        self.paused = True
        if self.queued() == 0 or self.failed:
            return self.close()
        self.close_after_flush = True
        return self.flush()

    cdef int close(self) except -1:
        """Close now; queued bytes are dropped. on_closed() is not called."""
        if self.fd < 0:
            return 0
        self.out.release()
        self.loop.remove(self)
        self.protocol = None
        self.again.transport = None  # unmakes the cycle; a scheduled ReadAgain finds nothing to do
        return 0

    cdef int reset(self) except -1:
        """Close with a RST, so that the peer sees an incomplete message as such."""
        cdef linger_ option
        if self.fd >= 0:
            option.l_onoff = 1
            option.l_linger = 0
            setsockopt(self.fd, SOL_SOCKET, SO_LINGER, &option, sizeof(option))
        return self.close()

    cdef int lose(self, int reason, int error) except -1:
        cdef Protocol protocol = self.protocol
        self.close()
        if protocol is not None:
            protocol.on_closed(reason, error)
        return 0

    cdef int on_bug(self) except -1:
        cdef Protocol protocol = self.protocol
        self.close()
        if protocol is not None:
            protocol.on_closed(CLOSE_RESET, 0)
        return 0
