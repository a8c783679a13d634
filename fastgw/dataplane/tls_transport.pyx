"""TLS (OpenSSL 3) over a non-blocking socket.

OpenSSL reads and writes through a BIO of ours. Reading: first what was received before TLS began (the hello that was looked at),
then recv() straight into OpenSSL's buffer, and none after a short one, so that a request costs one system call. Writing: one
record goes out by one send(); several collect and go out together; what the socket does not take waits in `cipher`, so that
SSL_write never has to be repeated. Plain text waits in `out` as in every transport.

The first bytes of an answer after a pause go out in records of about a packet, so that a client can use the first packet before
the second has come; a busy connection uses full records.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.loop cimport SCRATCH_BYTES, Loop
from fastgw.dataplane.tls_context cimport TlsContext
from fastgw.dataplane.tls_facts cimport TlsFacts
from fastgw.dataplane.transport cimport CLOSE_CONNECT_FAILED, CLOSE_HANDSHAKE_FAILED, CLOSE_RESET, Transport
from fastgw.native.openssl cimport (
    BIO, BIO_free, BIO_CTRL_FLUSH, BIO_FLAGS_READ, BIO_FLAGS_SHOULD_RETRY, BIO_FLAGS_WRITE, BIO_METHOD, BIO_TYPE_SOURCE_SINK,
    SSL_ERROR_WANT_READ, SSL_ERROR_ZERO_RETURN, SSL_SENT_SHUTDOWN, TLS1_3_VERSION, X509_V_OK, BIO_clear_flags, BIO_get_data,
    BIO_get_new_index, BIO_meth_new, BIO_meth_set_create, BIO_meth_set_ctrl, BIO_meth_set_read, BIO_meth_set_write, BIO_new,
    BIO_set_data, BIO_set_flags, BIO_set_init, ERR_clear_error, ERR_peek_last_error, ERR_reason_error_string, SSL_CIPHER_get_name,
    SSL_SESSION_get_id, SSL_do_handshake, SSL_free, SSL_get0_alpn_selected, SSL_get1_peer_certificate, SSL_get_certificate,
    SSL_get_current_cipher, SSL_get_error, SSL_get_rbio, SSL_get_session, SSL_get_verify_result, SSL_get_version, SSL_has_pending,
    SSL_is_init_finished, SSL_new, SSL_read, SSL_session_reused, SSL_set_accept_state, SSL_set_app_data, SSL_set_bio,
    SSL_set_connect_state, SSL_set_info_callback, SSL_set_shutdown, SSL_shutdown, SSL_version, SSL_write, X509_up_ref,
    X509_verify_cert_error_string,
)
from fastgw.native.route cimport FGW_CLIENT_AUTH_UNVERIFIED
from fastgw.native.system cimport (
    EAGAIN, ECONNRESET, EINTR, EPIPE, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, MSG_NOSIGNAL, SHUT_WR, SOL_SOCKET,
    SO_ERROR, errno, getsockopt, recv, send, shutdown, socklen_t,
)

cdef enum:
    READS_PER_TURN = 8
    RECORD_MAX = 16384
    SMALL_RECORD = 1300          # with its overhead it fits a packet
    SMALL_BYTES = 16384          # sent in small records after a pause
    PAUSE_MS = 1000
    BATCH_BYTES = 65536          # encrypted before the socket is asked
    USELESS_MAX = 100            # steps of the protocol between two pieces of data

cdef BIO_METHOD *METHOD = make_method()


cdef BIO_METHOD *make_method() noexcept:
    cdef BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, b"fastgw socket")
    BIO_meth_set_read(m, bio_read)
    BIO_meth_set_write(m, bio_write)
    BIO_meth_set_ctrl(m, bio_control)
    BIO_meth_set_create(m, bio_create)
    return m


cdef int bio_create(BIO *b) noexcept:
    BIO_set_init(b, 1)
    return 1


cdef long bio_control(BIO *b, int command, long n, void *p) noexcept:
    return 1 if command == BIO_CTRL_FLUSH else 0


cdef int bio_read(BIO *b, char *out, int n) noexcept:
    cdef int got = (<TlsTransport>BIO_get_data(b)).take_in(out, n)
    BIO_clear_flags(b, BIO_FLAGS_READ | BIO_FLAGS_WRITE | BIO_FLAGS_SHOULD_RETRY)
    if got == -2:
        BIO_set_flags(b, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY)
        return -1
    return got


cdef int bio_write(BIO *b, const char *p, int n) noexcept:
    BIO_clear_flags(b, BIO_FLAGS_READ | BIO_FLAGS_WRITE | BIO_FLAGS_SHOULD_RETRY)
    try:
        return (<TlsTransport>BIO_get_data(b)).put_out(p, n)
    except Exception:  # no memory, or a buffer over its limit
        return -1


cdef void count_useless(const SSL *ssl, int where, int r) noexcept:
    """OpenSSL tells of each message and alert after the handshake, and of no record with data."""
    (<TlsTransport>BIO_get_data(SSL_get_rbio(ssl))).useless += 1


cdef bytes error_text():
    """OpenSSL's words for what went wrong last, None when it has none."""
    cdef unsigned long e = ERR_peek_last_error()
    cdef const char *words = ERR_reason_error_string(e) if e else NULL
    return None if words == NULL else <bytes>words


cdef long sessions = 0


cdef long sessions_alive() noexcept:
    """TLS sessions of the process, with clients and upstreams."""
    return sessions


cdef class TlsTransport(Transport):
    def __cinit__(self):
        self.cipher = Buffer()

    def __dealloc__(self):
        global sessions
        if self.ssl != NULL:
            SSL_free(self.ssl)
            sessions -= 1

    # ---- handshake

    cdef int start_server(self, TlsContext context, const char *p, size_t n) except -1:
        """Become the server's side of TLS; n bytes that were received already lie at p. protocol.on_connected() follows, or
        on_closed()."""
        self.tcp_connected = self.connecting = True
        self.begin(context)
        SSL_set_accept_state(self.ssl)
        self.early, self.early_left = p, n
        self.step()
        if self.early_left and self.fd >= 0:
            self.raw = Buffer()
            self.raw.append(self.early, self.early_left)
        self.early, self.early_left = NULL, 0
        return 0

    cdef int start_client(self, TlsContext context) except -1:
        """Be the client's side of TLS as soon as the connection is made; to be called before the first event. Names and
        sessions are set on `ssl` by the caller."""
        self.is_client = True
        self.begin(context)
        SSL_set_connect_state(self.ssl)
        return 0

    cdef int begin(self, TlsContext context) except -1:
        global sessions
        cdef BIO *b = BIO_new(METHOD)
        self.ssl = SSL_new(context.ssl_ctx)
        sessions += self.ssl != NULL
        if b == NULL or self.ssl == NULL or SSL_set_app_data(self.ssl, <void *>context) != 1:
            BIO_free(b)
            raise MemoryError("TLS session")
        BIO_set_data(b, <void *>self)
        SSL_set_bio(self.ssl, b, b)
        self.context = context
        self.encrypts = True
        self.small_left = SMALL_BYTES
        return 0

    cdef int finish_connect(self, uint32_t events) except -1:
        cdef int error = 0
        cdef socklen_t n = sizeof(error)
        if self.ssl == NULL:
            return Transport.finish_connect(self, events)
        if not self.tcp_connected:
            if not events & (EPOLLOUT | EPOLLERR | EPOLLHUP):
                return 0
            if getsockopt(self.fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0:
                error = errno
            if error:
                return self.lose(CLOSE_CONNECT_FAILED, error)
            if not self.send_preface():
                return 1
            self.tcp_connected = True
        if events & EPOLLERR:  # an alert may have come before
            self.hangup = self.readable = True
            self.step()
            if self.fd >= 0 and self.connecting:
                self.failure = b"connection reset during the handshake"
                self.lose(CLOSE_HANDSHAKE_FAILED, ECONNRESET)
            return 1
        if events & (EPOLLRDHUP | EPOLLHUP):
            self.hangup = True
        if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP):
            self.readable = True
        if events & EPOLLOUT and self.sealed:
            self.write_blocked = False
            self.send_sealed()
        self.step()
        return 1

    cdef int step(self) except -1:
        """As far as the handshake goes with what has been received; then on with what has come behind it."""
        cdef int r, error
        ERR_clear_error()
        self.collecting = True
        r = SSL_do_handshake(self.ssl)
        self.collecting = False
        if r != 1:
            error = SSL_get_error(self.ssl, r)
            if error != SSL_ERROR_WANT_READ or self.eof or self.failed:
                return self.handshake_failed()
            return self.send_sealed()
        self.connecting = False
        SSL_set_info_callback(self.ssl, count_useless)
        if not self.is_client and self.hold_ticket():
            self.sealed = 0
        else:
            self.send_sealed()
        self.protocol.on_connected()
        if self.fd < 0 or self.failed:
            return 0
        self.flush()
        return self.read_ready()

    cdef bint hold_ticket(self) noexcept:
        """May the ticket, which nobody waits for, go out together with the answer to a request that is there already? What is held
        is not counted as queued: no time limit concerns it."""
        return self.sealed != 0 and SSL_version(self.ssl) == TLS1_3_VERSION and SSL_has_pending(self.ssl)

    cdef int handshake_failed(self) except -1:
        cdef long verdict = SSL_get_verify_result(self.ssl)
        if verdict != X509_V_OK:
            self.failure = <bytes>X509_verify_cert_error_string(verdict)
        else:
            self.failure = error_text() or b"connection closed during the handshake"
        ERR_clear_error()
        self.send_sealed()  # an alert, if one is due
        self.notified = True
        return self.lose(CLOSE_HANDSHAKE_FAILED, 0)

    cdef TlsFacts facts(self):
        cdef TlsFacts facts = TlsFacts()
        cdef const unsigned char *session_id
        cdef const unsigned char *protocol = NULL
        cdef unsigned int id_len = 0, protocol_len = 0
        SSL_get0_alpn_selected(self.ssl, &protocol, &protocol_len)
        facts.http2 = protocol_len == 2 and memcmp(protocol, b"h2", 2) == 0
        facts.http1 = protocol_len == 8 and memcmp(protocol, b"http/1.1", 8) == 0
        facts.version = SSL_get_version(self.ssl)
        facts.cipher = SSL_CIPHER_get_name(SSL_get_current_cipher(self.ssl))
        facts.resumed = SSL_session_reused(self.ssl) == 1
        facts.peer = SSL_get1_peer_certificate(self.ssl)
        facts.verified = facts.peer != NULL and self.context.client_auth < FGW_CLIENT_AUTH_UNVERIFIED
        facts.own = SSL_get_certificate(self.ssl)
        if facts.own != NULL:
            X509_up_ref(facts.own)
        session_id = SSL_SESSION_get_id(SSL_get_session(self.ssl), &id_len)
        facts.session_id_len = min(id_len, <unsigned int>sizeof(facts.session_id))
        memcpy(facts.session_id, session_id, facts.session_id_len)
        return facts

    # ---- reading

    cdef int read_ready(self) except -1:
        cdef Loop loop = self.loop
        cdef int n, error
        cdef int reads = 0
        if self.ssl == NULL:
            return Transport.read_ready(self)
        while not self.paused and self.fd >= 0 and (not self.failed or self.reads_rest) and not self.connecting:
            if not self.readable and not SSL_has_pending(self.ssl):
                return 0
            if reads == READS_PER_TURN:
                self.readable = True
                loop.at_turn_end(self.again)
                return 0
            reads += 1
            ERR_clear_error()
            n = SSL_read(self.ssl, loop.scratch, SCRATCH_BYTES)
            if n > 0:
                self.useless = 0
                self.protocol.on_data(loop.scratch, <size_t>n)
                continue
            error = SSL_get_error(self.ssl, n)
            if self.sealed and not self.write_blocked:  # a reply of OpenSSL's own went behind a ticket that is held
                self.send_sealed()
                if self.fd < 0:
                    return 0
            if error == SSL_ERROR_WANT_READ:
                if not self.readable:
                    return 0  # part of a record may be pending: the rest will be announced
                continue
            if error == SSL_ERROR_ZERO_RETURN:
                return self.end_of_stream()
            if self.eof:
                self.truncated = True
                return self.end_of_stream()
            self.notified = True
            self.failure = error_text()
            return self.lose(CLOSE_RESET, ECONNRESET)
        if self.paused and self.fd >= 0 and SSL_has_pending(self.ssl):
            self.readable = True  # no event will tell of what OpenSSL holds
        return 0

    cdef bint may_hold_more(self) noexcept:
        """What OpenSSL asks for is often just the rest of a record, so `readable` says nothing here. What does come is given to
        on_data() in this turn still, and a session ticket is nothing to worry about."""
        return self.readable and self.ssl == NULL

    cdef int end_of_stream(self) except -1:
        """Of an upstream, an end without close_notify may be somebody else's: what came before is not whole (T14)."""
        self.readable = False
        self.eof = True
        if self.truncated and self.is_client:
            return self.lose(CLOSE_RESET, ECONNRESET)
        return self.protocol.on_eof()

    cdef int read_rest(self) except -1:
        if self.ssl == NULL:
            return Transport.read_rest(self)
        self.hangup = self.readable = True
        return self.read_ready() if self.reads_rest else 0

    cdef int take_in(self, char *out, int n) noexcept:
        """Received bytes for OpenSSL: their number, 0 at the end of the stream, -1 error, -2 nothing now."""
        cdef ssize_t got
        cdef size_t use
        if self.useless > USELESS_MAX:  # floods of key updates and the like cost us more than the peer (T10)
            return -1
        if self.early_left:
            use = min(self.early_left, <size_t>n)
            memcpy(out, self.early, use)
            self.early += use
            self.early_left -= use
            return <int>use
        if self.raw is not None and self.raw.end != self.raw.start:
            use = min(self.raw.end - self.raw.start, <size_t>n)
            memcpy(out, self.raw.data + self.raw.start, use)
            self.raw.start += use
            if self.raw.start == self.raw.end:
                self.raw = None
            return <int>use
        while self.readable:
            got = recv(self.fd, out, <size_t>n, 0)
            if got > 0:
                self.loop.count_add(self.counter_in, <uint64_t>got)
                if got < n and not self.hangup:
                    self.readable = False
                return <int>got
            if got == 0:
                self.readable = False
                self.eof = True
                return 0
            if errno == EAGAIN:
                self.readable = False
            elif errno != EINTR:
                self.readable = False
                return -1
        return -2

    # ---- writing

    cdef int write_now(self, const char *p, size_t n, const char *tail, size_t tail_len) except -1:
        if self.ssl == NULL:
            return Transport.write_now(self, p, n, tail, tail_len)
        if self.failed or self.fd < 0:
            return 0
        if self.write_blocked or self.connecting:
            self.out.append(p, n)
            return self.out.append(tail, tail_len)
        self.progress_ms = self.loop.now_ms
        if self.out.end == self.out.start and tail_len == 0:
            self.encrypt(p, n)
            return self.send_sealed()
        self.out.append(p, n)
        self.out.append(tail, tail_len)
        return self.send_queue()

    cdef int send_queue(self) except -1:
        cdef size_t n
        if self.ssl == NULL:
            return Transport.send_queue(self)
        while not self.write_blocked and not self.failed and self.fd >= 0:
            n = min(self.out.end - self.out.start, <size_t>BATCH_BYTES)
            if n == 0:
                return self.send_sealed()
            self.encrypt(self.out.data + self.out.start, n)
            if self.failed:
                return 0
            self.out.consume(n)
            if self.sealed:
                self.send_sealed()
            elif self.out.end == self.out.start:
                return self.after_flush()
        return 0

    cdef int encrypt(self, const char *p, size_t n) except -1:
        """Into records; a single one is sent at once, several wait for send_sealed()."""
        cdef size_t piece
        cdef int r
        if self.loop.now_ms - self.wrote_ms >= PAUSE_MS:
            self.small_left = SMALL_BYTES
        self.wrote_ms = self.loop.now_ms
        self.collecting = n > (<size_t>SMALL_RECORD if self.small_left else <size_t>RECORD_MAX)
        while n:
            piece = min(n, <size_t>SMALL_RECORD if self.small_left else <size_t>RECORD_MAX)
            ERR_clear_error()
            r = SSL_write(self.ssl, p, <int>piece)
            if r <= 0:
                self.collecting = False
                return 0 if self.failed else self.send_failed(EPIPE)
            p += r
            n -= <size_t>r
            self.small_left -= min(self.small_left, <size_t>r)
        self.collecting = False
        return 0

    cdef int put_out(self, const char *p, int n) except -2:
        """Records from OpenSSL: all of them are taken, -1 when the connection is broken."""
        cdef ssize_t sent = 0
        if self.failed or self.fd < 0:
            return -1
        if not self.collecting and self.cipher.end == self.cipher.start and not self.write_blocked:
            sent = send(self.fd, p, <size_t>n, MSG_NOSIGNAL)
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    self.send_failed(errno)
                    return -1
                sent = 0
            self.loop.count_add(self.counter_out, <uint64_t>sent)
            if sent == n:
                return n
            self.write_blocked = True
        self.cipher.append(p + sent, <size_t>(n - sent))
        self.sealed = self.cipher.end - self.cipher.start
        return n

    cdef int send_sealed(self) except -1:
        """Give the socket the records that wait."""
        cdef ssize_t sent
        if self.sealed and not self.write_blocked:
            sent = send(self.fd, self.cipher.data + self.cipher.start, self.sealed, MSG_NOSIGNAL)
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    self.cipher.release()
                    self.sealed = 0
                    return self.send_failed(errno)
                sent = 0
            self.loop.count_add(self.counter_out, <uint64_t>sent)
            if sent:
                self.progress_ms = self.loop.now_ms
            self.cipher.consume(<size_t>sent)
            self.sealed = self.cipher.end - self.cipher.start
            if self.sealed:
                self.write_blocked = True
        if self.sealed == 0 and self.out.end == self.out.start and not self.connecting:
            return self.after_flush()
        return 0

    # ---- ending

    cdef int send_fin(self) except -1:
        self.notify()
        if self.sealed and not self.failed:  # a ticket was held, or the socket is full
            self.shut_after_flush = True
            return self.send_sealed()
        if self.fd >= 0:
            shutdown(self.fd, SHUT_WR)
        return 0

    cdef int notify(self) except -1:
        """close_notify, once, where the peer can still understand it (RFC 8446 section 6.1)."""
        if self.ssl == NULL or self.notified or self.failed or self.fd < 0 or not SSL_is_init_finished(self.ssl):
            return 0
        self.notified = True
        ERR_clear_error()
        SSL_shutdown(self.ssl)
        return 0

    cdef int close(self) except -1:
        global sessions
        if self.fd < 0:
            return 0
        # a peer that has left needs no notice, but that of a tunnel may have ended only its own direction
        if self.queued() == 0 and (not self.eof or self.keeps_unread):
            self.notify()
            self.close_after_flush = False
            self.send_sealed()
        self.cipher.release()
        self.sealed = 0
        self.raw = None
        Transport.close(self)
        if self.ssl != NULL:
            if self.eof and not self.notified:
                SSL_set_shutdown(self.ssl, SSL_SENT_SHUTDOWN)  # else OpenSSL takes the session for a broken one
            SSL_free(self.ssl)
            self.ssl = NULL
            sessions -= 1
        self.context = None
        return 0

    cdef int reset(self) except -1:
        self.notified = True
        return Transport.reset(self)

    cdef int send_failed(self, int error) except -1:
        self.cipher.release()
        self.sealed = 0
        return Transport.send_failed(self, error)
