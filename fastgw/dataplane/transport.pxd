"""The I/O seam: protocol code is told about bytes and says write, pause, close; it never calls a socket."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.loop cimport Loop, Timer, Turn, Watcher
from fastgw.dataplane.pipes cimport Pipe
from fastgw.native.system cimport msghdr

cdef enum CloseReason:
    CLOSE_LOCAL = 1        # we asked for it
    CLOSE_RESET = 2        # the peer reset the connection, or an error took it away
    CLOSE_CONNECT_FAILED = 3
    CLOSE_HANDSHAKE_FAILED = 4


cdef class Protocol(Timer):
    """What sits on a Transport: a codec of one side."""
    cdef int on_connected(self) except -1
    cdef int on_data(self, const char *p, size_t n) except -1
    cdef Pipe pipe_for_input(self)
    cdef int on_piped(self, size_t n) except -1
    cdef int on_input_dry(self) except -1
    cdef int on_eof(self) except -1
    cdef int on_writable(self) except -1
    cdef int on_closed(self, int reason, int error) except -1


cdef class Transport(Watcher):
    cdef Loop loop
    cdef Protocol protocol         # owner of this transport; None after close
    cdef Buffer out                # bytes accepted by write() and not yet sent
    cdef bint connecting
    cdef bint encrypts             # bytes on the socket are not those of the protocol
    cdef bint readable             # an edge was seen and not yet read dry
    cdef bint hangup               # the peer's FIN (or worse) was announced: a short read is not the end
    cdef bint paused               # reading is paused by the protocol
    cdef bint eof                  # the peer's FIN was read
    cdef bint failed               # a send failed; on_closed follows at the end of the turn
    cdef bint reads_rest           # what was received before an error still counts (upstreams)
    cdef bint keeps_unread         # what has not been read still counts when both directions are shut (tunnels)
    cdef bint piped                # received bytes go through pipes of the protocol, not to on_data()
    cdef int error                 # errno of the failure
    cdef bint write_blocked        # the socket buffer is full
    cdef bint more_follows         # a FIN or more bytes follow at once: they may go into the same packet
    cdef bint shut_after_flush
    cdef bint close_after_flush
    cdef int64_t progress_ms       # loop clock of the last byte sent or of the queue's beginning
    cdef int counter_in            # enum fgw_counter: where received and sent bytes are counted
    cdef int counter_out
    cdef ReadAgain again
    cdef bytes preface             # sent as it is when the connection is there, before all else; None
    cdef size_t sealed             # bytes behind `out` that the socket has not taken (records, see TlsTransport)

    cdef int open(self, Loop loop, int fd, Protocol protocol, bint connecting) except -1
    cdef int write(self, const char *p, size_t n) except -1
    cdef int write_piece(self, const char *p, size_t n, const char *tail, size_t tail_len) except -1
    cdef int write_now(self, const char *p, size_t n, const char *tail, size_t tail_len) except -1
    cdef int account(self, ssize_t sent, const char *p, size_t n, const char *tail, size_t tail_len) except -1
    cdef int write_pipe(self, Pipe pipe) except -1
    cdef int flush(self) except -1
    cdef int pause_reading(self) except -1
    cdef int resume_reading(self) except -1
    cdef int watch_peer(self) except -1
    cdef int shut(self) except -1
    cdef int finish(self) except -1
    cdef int close(self) except -1
    cdef int reset(self) except -1
    cdef int read_ready(self) except -1
    cdef bint may_hold_more(self) noexcept
    cdef int received(self, Protocol protocol, ssize_t n) except -1
    cdef int read_rest(self) except -1
    cdef int finish_connect(self, uint32_t events) except -1
    cdef int send_preface(self) except -1
    cdef int send_queue(self) except -1
    cdef int after_flush(self) except -1
    cdef int send_fin(self) except -1
    cdef int send_failed(self, int error) except -1
    cdef int lose(self, int reason, int error) except -1
    cdef ssize_t raw_sendmsg(self, const msghdr *msg) noexcept
    cdef ssize_t raw_send(self, const char *p, size_t n) noexcept

    cdef inline size_t queued(self) noexcept:
        return self.out.end - self.out.start + self.sealed


cdef class ReadAgain(Turn):
    cdef Transport transport
