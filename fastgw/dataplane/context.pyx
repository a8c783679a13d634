"""Context, Image and Credentials: what one worker process has exactly one of, and what it serves from."""
import resource

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from libc.time cimport gmtime_r, strftime, time_t, tm

from fastgw.dataplane.pipes import pipe_limit
from fastgw.native.base cimport FGW_R_COUNT, fgw_field, fgw_span
from fastgw.native.cidr cimport fgw_cidr_check, fgw_cidr_find, fgw_ip
from fastgw.native.credentials cimport fgw_credentials_check, fgw_credentials_header
from fastgw.native.route cimport (
    FGW_IMAGE_VERSION, fgw_image_header, fgw_img_action, fgw_img_answer, fgw_img_chain, fgw_img_cluster, fgw_img_cors,
    fgw_img_destination, fgw_img_edit, fgw_img_endpoint, fgw_img_guard, fgw_img_listener, fgw_img_mirror, fgw_img_origin,
    fgw_img_page, fgw_img_part, fgw_img_policy, fgw_img_rate_limit, fgw_img_retry, fgw_img_route_policy, fgw_img_rule,
    fgw_img_route_table, fgw_img_source_list, fgw_img_tls_context, fgw_img_upstream_tls, fgw_img_vhost, fgw_regexes_close,
    fgw_regexes_open,
)
from fastgw.native.state cimport FGW_G_END, FGW_G_IMAGES_ALIVE, FGW_STATE_MAGIC, FGW_STATE_VERSION, fgw_state
from fastgw.native.system cimport (
    CLOCK_REALTIME, MADV_DONTDUMP, MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE, clock_gettime, errno,
    getrandom, madvise, mlock, mmap, munmap, timespec,
)

RESERVED_DESCRIPTORS = 16   # of a worker: listeners, control socket, logs, the one given up when all are used

cdef uint64_t IMAGE_MAGIC = 0x4547414d49574746
cdef long images = 0
cdef bytes HEX_PAIRS = "".join(f"{i:02x}" for i in range(256)).encode()
cdef const char *HEX = HEX_PAIRS


def images_alive():
    """For leak checks: images that are mapped."""
    return images


def client_limit():
    """Client connections a worker may hold: half of its descriptors less a reserve, since each of them may need one for an
    upstream connection (requirement D8)."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(1, (soft - RESERVED_DESCRIPTORS - 2 * pipe_limit()) // 2) if soft != resource.RLIM_INFINITY else 1 << 30


cdef class Image:
    """The image has been checked as a whole by the supervisor; here only what a mix-up of versions would break."""

    def __init__(self, int fd, size_t total_bytes, Image before=None):
        """``before``: the image that this one replaces, whose compiled regexes are good for this one too."""
        global images
        cdef void *p = mmap(NULL, total_bytes, PROT_READ, MAP_SHARED, fd, 0)
        cdef const fgw_image_header *h
        if p == <void *>-1:
            raise OSError(errno, "mmap of the route image")
        self.base = <const char *>p
        self.total_bytes = total_bytes
        images += 1
        h = <const fgw_image_header *>p
        if h.magic != IMAGE_MAGIC or h.version != FGW_IMAGE_VERSION or h.total_bytes != total_bytes:
            raise ValueError("not a route image of this version")
        self.generation = h.generation
        self.strings = self.base + h.strings.off
        self.listeners = <const fgw_img_listener *>(self.base + h.listeners.off)
        self.chains = <const fgw_img_chain *>(self.base + h.chains.off)
        self.tls_contexts = <const fgw_img_tls_context *>(self.base + h.tls_contexts.off)
        self.upstream_tls = <const fgw_img_upstream_tls *>(self.base + h.upstream_tls.off)
        self.texts = <const fgw_span *>(self.base + h.texts.off)
        self.route_tables = <const fgw_img_route_table *>(self.base + h.route_tables.off)
        self.vhosts = <const fgw_img_vhost *>(self.base + h.vhosts.off)
        self.rules = <const fgw_img_rule *>(self.base + h.rules.off)
        self.actions = <const fgw_img_action *>(self.base + h.actions.off)
        self.destinations = <const fgw_img_destination *>(self.base + h.destinations.off)
        self.answers = <const fgw_img_answer *>(self.base + h.answers.off)
        self.route_policies = <const fgw_img_route_policy *>(self.base + h.route_policies.off)
        self.retries = <const fgw_img_retry *>(self.base + h.retries.off)
        self.cors = <const fgw_img_cors *>(self.base + h.cors.off)
        self.mirrors = <const fgw_img_mirror *>(self.base + h.mirrors.off)
        self.pages = <const fgw_img_page *>(self.base + h.pages.off)
        self.guards = <const fgw_img_guard *>(self.base + h.guards.off)
        self.source_lists = <const fgw_img_source_list *>(self.base + h.source_lists.off)
        self.rate_limits = <const fgw_img_rate_limit *>(self.base + h.rate_limits.off)
        self.edits = <const fgw_img_edit *>(self.base + h.edits.off)
        self.parts = <const fgw_img_part *>(self.base + h.parts.off)
        self.clusters = <const fgw_img_cluster *>(self.base + h.clusters.off)
        self.endpoints = <const fgw_img_endpoint *>(self.base + h.endpoints.off)
        self.policies = <const fgw_img_policy *>(self.base + h.policies.off)
        self.origins = <const fgw_img_origin *>(self.base + h.origins.off)
        self.regexes = fgw_regexes_open(p, before.regexes if before is not None else NULL)
        if self.regexes == NULL:
            raise MemoryError("regexes of the image")

    def __dealloc__(self):
        global images
        if self.regexes != NULL:
            fgw_regexes_close(self.regexes)
        if self.base != NULL:
            munmap(<void *>self.base, self.total_bytes)
            images -= 1


cdef class Credentials:
    """Sealed and checked by the supervisor; looked at once more, because a wrong offset here would be a key in the wrong place."""

    def __init__(self, int fd, size_t total_bytes):
        cdef void *p = mmap(NULL, total_bytes, PROT_READ, MAP_SHARED, fd, 0)
        if p == <void *>-1:
            raise OSError(errno, "mmap of the credentials")
        self.base = p
        self.total_bytes = total_bytes
        madvise(p, total_bytes, MADV_DONTDUMP)  # private keys: a core dump must not hold them
        if fgw_credentials_check(p, total_bytes) <= 0:
            raise ValueError("not a credentials block of this version")
        self.count = (<const fgw_credentials_header *>p).count

    def __dealloc__(self):
        if self.base != NULL:
            munmap(<void *>self.base, self.total_bytes)


cdef class Context:
    def __init__(self, Loop loop, int state_fd, size_t state_bytes, int slot, limits):
        cdef void *p = mmap(NULL, state_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, state_fd, 0)
        if p == <void *>-1:
            raise OSError(errno, "mmap of the state segment")
        self.state = <fgw_state *>p
        self.state_bytes = state_bytes
        if self.state.magic != FGW_STATE_MAGIC or self.state.version != FGW_STATE_VERSION or slot >= <int>self.state.worker_slots:
            raise ValueError("not a state segment of this version")
        self.slot = slot
        self.stats = &self.state.workers[slot]
        self.loop = loop
        self.lines = {}
        loop.stats = self.stats
        self.zero_gauges()
        self.take_limits(limits)
        getrandom(self.rng, sizeof(self.rng), 0)

    def __dealloc__(self):
        free(self.fields)
        if self.state != NULL:
            munmap(<void *>self.state, self.state_bytes)
        if self.ticket_keys != NULL:
            memset(self.ticket_keys, 0, TICKET_KEYS_MAX * TICKET_KEY_BYTES)
            munmap(self.ticket_keys, TICKET_KEYS_MAX * TICKET_KEY_BYTES)

    def zero_gauges(self):
        cdef int i
        for i in range(192, FGW_G_END):
            self.stats.counters[i] = 0

    def take_limits(self, limits):
        """From fastgw.model.worker_protocol.Limits."""
        self.limits.head_bytes = min(limits.head_bytes, HEAD_MAX)
        self.limits.target_bytes = limits.target_bytes
        self.limits.fields = limits.fields
        self.limits.leniency = limits.leniency
        self.fields_cap = limits.fields + 2
        self.fields = <fgw_field *>calloc(self.fields_cap, sizeof(fgw_field))
        if self.fields == NULL:
            raise MemoryError("field table")
        self.http10 = limits.http10
        self.underscores = ("drop", "reject", "allow").index(limits.underscores)
        self.path_mode = limits.path_normalization
        self.head_timeout_ms = limits.head_timeout_ms
        self.idle_timeout_ms = limits.idle_timeout_ms
        self.body_timeout_ms = limits.body_timeout_ms
        self.body_min_bytes_per_s = limits.body_min_bytes_per_s
        self.write_timeout_ms = limits.write_timeout_ms
        self.request_timeout_ms = limits.request_timeout_ms
        self.upstream_idle_timeout_ms = limits.upstream_idle_timeout_ms
        self.upstream_response_timeout_ms = limits.upstream_response_timeout_ms
        self.stream_idle_timeout_ms = limits.stream_idle_timeout_ms
        self.max_connections = client_limit()
        self.listener_limit = limits.max_connections
        self.source_limit = limits.max_connections_per_source
        self.max_requests_per_connection = limits.max_requests_per_connection
        self.max_connection_age_ms = limits.max_connection_age_ms
        self.http2_streams = limits.http2_streams
        self.http2_idle_timeout_ms = limits.http2_idle_timeout_ms
        self.http2_websockets = limits.http2_websockets
        self.connect_attempts = max(1, limits.connect_attempts)
        self.retry_budget_percent = limits.retry_budget_percent
        self.retry_any_method = limits.retry_any_method
        self.trusted_hops = limits.trusted_hops
        self.trust(limits.trusted_proxies)
        self.hello_timeout_ms = limits.hello_timeout_ms
        self.handshake_timeout_ms = limits.handshake_timeout_ms
        self.misdirected_status = limits.misdirected_status
        self.server_name = limits.server_name.encode("latin-1")
        self.server = self.server_name
        self.server_len = len(self.server_name)

    def trust(self, bytes networks):
        """A set of networks; empty: none is given."""
        if networks and not fgw_cidr_check(<const char *>networks, <size_t>len(networks)):
            raise ValueError("not a set of networks")
        self.trusted_proxies = networks or None
        self.trusted = <const char *>networks if networks else NULL

    def attach(self, Image image, Credentials credentials=None):
        """Assignments between two turns; exchanges in flight keep the image they began with."""
        self.image = image
        self.credentials = credentials
        self.stats.generation = image.generation
        self.stats.counters[FGW_G_IMAGES_ALIVE] = images

    def take_ticket_keys(self, list keys):
        """80 bytes each, the first makes tickets. The objects given are overwritten: only our page holds the keys afterwards."""
        cdef bytes key
        cdef char *own
        cdef int count = 0
        cdef void *p
        if len(keys) > TICKET_KEYS_MAX or any(len(key) != TICKET_KEY_BYTES for key in keys):
            raise ValueError("not a list of ticket keys")
        if self.ticket_keys == NULL:
            p = mmap(NULL, TICKET_KEYS_MAX * TICKET_KEY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
            if p == <void *>-1:
                raise MemoryError("ticket keys")
            mlock(p, TICKET_KEYS_MAX * TICKET_KEY_BYTES)  # a limit of 0 is no reason to serve without tickets
            madvise(p, TICKET_KEYS_MAX * TICKET_KEY_BYTES, MADV_DONTDUMP)
            self.ticket_keys = <unsigned char *>p
        memset(self.ticket_keys, 0, TICKET_KEYS_MAX * TICKET_KEY_BYTES)
        for key in keys:
            own = key
            memcpy(self.ticket_keys + count * TICKET_KEY_BYTES, own, TICKET_KEY_BYTES)
            memset(own, 0, TICKET_KEY_BYTES)
            count += 1
        self.ticket_key_count = count
        self.ticket_generation += 1

    def ticket_key_names(self):
        """The first 16 bytes of each, which every ticket carries in the clear: for tests."""
        return [bytes(self.ticket_keys[80 * i:80 * i + 16]) for i in range(self.ticket_key_count)]

    def set_pid(self, pid):
        self.stats.pid = pid
        self.stats.draining = 0

    def set_draining(self):
        self.draining = True
        self.stats.draining = 1

    cdef const char *http_date(self) noexcept:
        """IMF-fixdate of now (RFC 9110 section 5.6.7), 29 bytes; formatted once a second."""
        cdef timespec ts
        cdef time_t seconds
        cdef tm parts
        if self.loop.now_ms >= self.date_until_ms:
            clock_gettime(CLOCK_REALTIME, &ts)
            seconds = ts.tv_sec
            gmtime_r(&seconds, &parts)
            strftime(self.date, sizeof(self.date), b"%a, %d %b %Y %H:%M:%S GMT", &parts)
            self.date_until_ms = self.loop.now_ms + 1000 - ts.tv_nsec // 1000000
        return self.date

    cdef uint64_t random(self) noexcept:
        """xoshiro256**, seeded by the kernel: for load balancing and request ids, not for secrets."""
        cdef uint64_t result = self.rng[1] * 5
        cdef uint64_t t = self.rng[1] << 17
        result = ((result << 7) | (result >> 57)) * 9
        self.rng[2] ^= self.rng[0]
        self.rng[3] ^= self.rng[1]
        self.rng[1] ^= self.rng[2]
        self.rng[0] ^= self.rng[3]
        self.rng[2] ^= t
        self.rng[3] = (self.rng[3] << 45) | (self.rng[3] >> 19)
        return result

    cdef int64_t expiry(self) noexcept:
        """When a client connection that begins now has had its time; 0: never. Connections that began together end apart."""
        cdef int64_t age = self.max_connection_age_ms
        return self.loop.now_ms + age - age // 10 + <int64_t>(self.random() % <uint64_t>(age // 5 + 1)) if age else 0

    cdef int uuid4(self, char *out) noexcept:
        """36 bytes of a version 4 UUID (RFC 9562)."""
        cdef uint64_t parts[2]
        cdef uint8_t *raw = <uint8_t *>parts
        cdef int i, at = 0
        parts[0] = self.random()
        parts[1] = self.random()
        raw[6] = (raw[6] & 0x0f) | 0x40
        raw[8] = (raw[8] & 0x3f) | 0x80
        for i in range(16):
            if i == 4 or i == 6 or i == 8 or i == 10:
                out[at] = 45
                at += 1
            out[at] = HEX[2 * raw[i]]
            out[at + 1] = HEX[2 * raw[i] + 1]
            at += 2
        return at

    cdef int reject(self, int reason) noexcept:
        """Count a refusal by its reason."""
        if 0 < reason < FGW_R_COUNT:
            self.stats.rejected[reason] += 1
        return 0

    cdef bint believes(self, fgw_ip peer) noexcept:
        """Is what this peer says of others, in X-Forwarded-For and -Proto, to be believed?"""
        return self.trusted_hops > 0 if self.trusted == NULL else fgw_cidr_find(self.trusted, peer) != 0

    cdef int gauge(self, int which, int64_t delta) noexcept:
        self.stats.counters[which] += <uint64_t>delta
        return 0
