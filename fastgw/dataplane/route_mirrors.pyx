"""Mirrors of routes (statements N11, M16): requests are copied as they are forwarded and sent elsewhere, and the answers thrown
away.

A copy is an exchange of its own, without a client, retries, log line or series in the request metrics. Nothing of it may hold the
request up: pieces of a body are written to it as they come, and a mirror that does not keep up, or takes too long to connect,
loses its copy. What is held is bounded: COPIES_MAX copies a worker, PENDING_MAX bytes for each until it is connected.
"""
from libc.stdint cimport int64_t, uint32_t

from fastgw.dataplane.attempts cimport try_upstream
from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.steps cimport Mirrors
from fastgw.dataplane.streams cimport ClientStream, Connector, ResponseHead
from fastgw.dataplane.timeouts cimport arm
from fastgw.native.base cimport fgw_field
from fastgw.native.route cimport FGW_NONE, FGW_PER_MILLION, fgw_img_mirror, fgw_img_route_policy
from fastgw.native.state cimport FGW_C_MIRRORED, FGW_C_MIRRORS_LOST

cdef enum:
    COPIES_MAX = 1024
    PENDING_MAX = 65536
    TIME_MAX_MS = 60000          # for a copy of a route without a timeout


cdef class Nobody(ClientStream):
    cdef int start_response(self, Exchange x, ResponseHead *head) except -1:
        return 0

    cdef int write_body(self, const char *p, size_t n) except -1:
        return 0

    cdef int write_trailers(self, const char *base, const fgw_field *fields, uint32_t count) except -1:
        return 0

    cdef int end_response(self) except -1:
        return 0

    cdef int abort_response(self) except -1:
        return 0

    cdef int send_interim(self, ResponseHead *head) except -1:
        return 0

    cdef int send_continue(self) except -1:
        return 0

    cdef int flush(self) except -1:
        return 0

    cdef int resume_request(self) except -1:
        return 0

    cdef int on_exchange_done(self, Exchange x) except -1:
        self.alive -= 1
        return x.ctx.loop.unlink(x)  # the wheel would keep it until its time


cdef class Copy(Exchange):
    cdef int record(self) except -1:
        return 0


cdef class RouteMirrors(Mirrors):
    def __init__(self, Context ctx, Connector connector):
        self.ctx = ctx
        self.connector = connector
        self.nobody = Nobody()
        self.nobody.ctx = ctx

    cdef int start(self, Exchange x) except -1:
        cdef const fgw_img_route_policy *policy = &x.image.route_policies[x.image.actions[x.route.action].policy]
        cdef const fgw_img_mirror *m = x.image.mirrors + policy.mirrors.off
        cdef uint32_t i
        if x.upgrade:
            return 0
        for i in range(policy.mirrors.count):
            if m[i].cluster == FGW_NONE or x.ctx.random() % FGW_PER_MILLION >= m[i].per_million:
                continue
            if self.nobody.alive >= COPIES_MAX or x.ctx.refuse_share:  # of what can be left undone, the first
                x.ctx.loop.count(FGW_C_MIRRORS_LOST)
            else:
                self.send(x, m[i].cluster)
        return 0

    cdef int send(self, Exchange x, uint32_t cluster) except -1:
        cdef Copy copy = Copy(self.ctx, self.connector, None)
        copy.client = self.nobody
        self.nobody.alive += 1
        copy.clear()
        copy.image = x.image
        copy.cluster, copy.cluster_name = cluster, x.image.clusters[cluster].name
        copy.head.copy(x.head)
        copy.grpc = x.grpc
        copy.replayable = False
        copy.request_done = x.request_done
        copy.timeout_ms = x.timeout_ms if x.timeout_ms else <int64_t>TIME_MAX_MS
        x.ctx.loop.count(FGW_C_MIRRORED)
        if x.request_done:
            copy.timeout_at_ms = x.ctx.loop.now_ms + copy.timeout_ms
            arm(copy)
        else:
            x.mirrors = [copy] if x.mirrors is None else [*x.mirrors, copy]
        return try_upstream(copy, False)

    cdef int body(self, Exchange x, const char *p, size_t n) except -1:
        cdef Copy copy
        for copy in x.mirrors:
            if not copy.active:
                continue
            copy.bytes_received += n
            if copy.head_sent and copy.upstream is not None:
                copy.upstream.write_body(p, n)
                if copy.upstream is not None:
                    copy.upstream.flush()
                if copy.upstream is not None and copy.upstream.backlogged():
                    self.lose(copy)
            elif copy.bytes_received > PENDING_MAX:
                self.lose(copy)
            else:
                if copy.replay is None:
                    copy.replay = Buffer()
                copy.replay.append(p, n)
        return 0

    cdef int end(self, Exchange x, bint whole) except -1:
        cdef Copy copy
        cdef list copies = x.mirrors
        x.mirrors = None
        for copy in copies:
            if not copy.active:
                continue
            if not whole:
                self.lose(copy)
                continue
            copy.request_done = True
            copy.timeout_at_ms = x.ctx.loop.now_ms + copy.timeout_ms
            arm(copy)
            if copy.head_sent and copy.upstream is not None:
                copy.upstream.end_request()
                if copy.upstream is not None:
                    copy.upstream.flush()
        return 0

    cdef int lose(self, Copy copy) except -1:
        self.ctx.loop.count(FGW_C_MIRRORS_LOST)
        return copy.finish()
