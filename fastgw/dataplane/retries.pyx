"""When a request is sent again: conditions, number, pause and budget (section J).

Beyond Istio: a request whose method is not idempotent is sent again only when no byte of it has reached an upstream or the
upstream says that it has not touched it, since nobody can tell whether it was done; a route that names statuses of gRPC has
decided that for its calls, which are all POST. --retry-any-method gives Istio's way back. And retries of a cluster are bounded
by a share of what is under way there, so that an upstream in trouble does not get a multiple of its load.

The end of a reused connection without a byte of an answer says nothing about the upstream: an idempotent request is then sent
again once, at once, on a new connection, whatever the route's policy (RFC 9110 section 9.2.2).
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from fastgw.dataplane.attempts cimport abandon_upstream, send_again
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.steps cimport RetryPolicy
from fastgw.dataplane.streams cimport FAULT_CLOSED, FAULT_CONNECT_FAILED, FAULT_CONNECT_TIMEOUT, FAULT_REFUSED, ResponseHead
from fastgw.native.base cimport FGW_HDR_GRPC_STATUS, FGW_HDR_X_ENVOY, fgw_field
from fastgw.native.fields cimport fgw_find_field
from fastgw.native.http1 cimport (
    FGW_METHOD_DELETE, FGW_METHOD_GET, FGW_METHOD_HEAD, FGW_METHOD_OPTIONS, FGW_METHOD_PUT, FGW_METHOD_TRACE,
)
from fastgw.native.route cimport (
    FGW_AVOID_ALWAYS, FGW_AVOID_UNLESS_HASHED, FGW_LB_MAGLEV, FGW_LB_RING_HASH, FGW_NONE, FGW_RETRY_5XX, FGW_RETRY_CONNECT_FAILURE,
    FGW_RETRY_GATEWAY_ERROR, FGW_RETRY_RATELIMITED, FGW_RETRY_REFUSED_STREAM, FGW_RETRY_RESET, FGW_RETRY_RESET_BEFORE_REQUEST,
    FGW_RETRY_RETRIABLE_4XX, FGW_RETRY_STATUSES, fgw_img_retry,
)
from fastgw.native.retries cimport fgw_retry_begin, fgw_retry_end
from fastgw.native.state cimport FGW_C_OVERFLOW_RETRIES, FGW_C_UPSTREAM_RETRIES, FGW_F_UO, FGW_F_URX

cdef enum:
    GRPC_CANCELLED = 1
    GRPC_UNAVAILABLE = 14
    LEVELS_EVERY = 2           # attempts, between two looks at the levels that have been tried (Istio's update_frequency)
    BACKOFF_MS = 25
    BACKOFF_GROWTH = 10        # the pause grows to so many times its base (J9)


cdef class RouteRetries(RetryPolicy):
    def __init__(self, Context ctx):
        memset(&self.standard, 0, sizeof(self.standard))
        self.standard.attempts = <uint32_t>max(ctx.connect_attempts - 1, 0)
        self.standard.on = FGW_RETRY_CONNECT_FAILURE | FGW_RETRY_REFUSED_STREAM
        self.standard.on_grpc = (1 << GRPC_UNAVAILABLE) | (1 << GRPC_CANCELLED)
        self.standard.backoff_ms = BACKOFF_MS
        self.standard.avoid_tried = FGW_AVOID_UNLESS_HASHED

    cdef const fgw_img_retry *policy_of(self, Exchange x) noexcept:
        cdef uint32_t policy = FGW_NONE if x.route.action == FGW_NONE else x.image.actions[x.route.action].policy
        cdef uint32_t retry = FGW_NONE if policy == FGW_NONE else x.image.route_policies[policy].retry
        return &self.standard if retry == FGW_NONE else &x.image.retries[retry]

    cdef bint again_after_fault(self, Exchange x, int fault, bint reused) except -1:
        cdef const fgw_img_retry *policy
        cdef bint untouched = fault == FAULT_CONNECT_FAILED or fault == FAULT_CONNECT_TIMEOUT or fault == FAULT_REFUSED
        if not x.replayable:
            return False
        if fault == FAULT_CLOSED and reused and not x.stale_retried and is_idempotent(x):
            x.stale_retried = True
            x.ctx.loop.count(FGW_C_UPSTREAM_RETRIES)
            send_again(x, 0, True)
            return True
        policy = self.policy_of(x)
        if policy.attempts == 0 or not covers_fault(policy, fault, x.head_sent):
            return False
        if not untouched and not is_idempotent(x) and not x.ctx.retry_any_method:
            return False
        return self.try_again(x, policy, untouched)

    cdef bint again_after_answer(self, Exchange x, const ResponseHead *head) except -1:
        cdef const fgw_img_retry *policy
        cdef int grpc
        cdef bint by_name = False  # the route names statuses of gRPC, and this is one
        if not x.replayable:
            return False
        policy = self.policy_of(x)
        if policy.attempts == 0:
            return False
        if is_ratelimited(head):  # no other condition counts then (J8)
            if not policy.on & FGW_RETRY_RATELIMITED:
                return False
        elif not covers_status(policy, head):
            grpc = grpc_status(head)
            if grpc < 0 or grpc > 31 or not policy.on_grpc & (<uint32_t>1 << grpc):
                return False
            by_name = policy != &self.standard
        if not by_name and not is_idempotent(x) and not x.ctx.retry_any_method:
            return False
        return self.try_again(x, policy, False)

    cdef bint try_again(self, Exchange x, const fgw_img_retry *policy, bint untouched) except -1:
        """``untouched``: no upstream has anything to do with it yet, be it for want of a connection or because one has said so.
        That is no load for the budget to bound (a GOAWAY gives many requests back at once), and the first retry does not wait:
        another endpoint or connection may be fine."""
        cdef uint32_t percent = 0 if untouched else <uint32_t>x.ctx.retry_budget_percent
        self.end_retry(x)
        if x.retries >= policy.attempts:
            x.flags |= FGW_F_URX
            return False
        if x.ctx.refuse_share or not fgw_retry_begin(x.image.base, x.ctx.state, <uint32_t>x.ctx.slot, x.cluster, percent):
            x.flags |= FGW_F_UO
            x.ctx.loop.count(FGW_C_OVERFLOW_RETRIES)
            return False
        abandon_upstream(x)  # an answer that is not taken
        x.retrying = True
        x.retries += 1
        x.ctx.loop.count(FGW_C_UPSTREAM_RETRIES)
        # from 1 ms on: never from within the codec whose answer is being read
        send_again(x, 0 if untouched and x.retries == 1 else max(backoff_ms(x.ctx, policy.backoff_ms, x.retries), 1), False)
        return True

    cdef int end_retry(self, Exchange x) except -1:
        if x.retrying:
            x.retrying = False
            fgw_retry_end(x.image.base, x.ctx.state, <uint32_t>x.ctx.slot, x.cluster)
        return 0

    cdef int64_t try_timeout_ms(self, Exchange x) noexcept:
        return self.policy_of(x).per_try_timeout_ms

    cdef int leave_levels(self, Exchange x) noexcept:
        """retryRemoteLocalities, as Envoy's previous priorities: after two attempts, and after every two more, the levels tried so
        far are left out."""
        if self.policy_of(x).other_localities and x.level_tries and x.level_tries % LEVELS_EVERY == 0:
            x.skip_levels = x.tried_levels
        return 0

    cdef bint avoids_tried(self, Exchange x) noexcept:
        cdef int avoid = self.policy_of(x).avoid_tried
        cdef int lb = x.image.clusters[x.cluster].lb
        return avoid == FGW_AVOID_ALWAYS or (
            avoid == FGW_AVOID_UNLESS_HASHED and lb != FGW_LB_RING_HASH and lb != FGW_LB_MAGLEV)


cdef int64_t backoff_ms(Context ctx, uint32_t base_ms, uint32_t retry) noexcept:
    """Before the nth retry: anything below base * 2^(n-1), and below ten times the base (J9)."""
    cdef uint64_t most = <uint64_t>base_ms << min(retry - 1, <uint32_t>8)
    most = min(most, <uint64_t>base_ms * BACKOFF_GROWTH)
    return <int64_t>(ctx.random() % most)


cdef bint covers_fault(const fgw_img_retry *policy, int fault, bint head_sent) noexcept:
    """J7: no answer at all counts as a 5xx and as a gateway error, too."""
    if policy.on & (FGW_RETRY_5XX | FGW_RETRY_GATEWAY_ERROR | FGW_RETRY_RESET):
        return True
    if policy.on & FGW_RETRY_RESET_BEFORE_REQUEST and not head_sent:
        return True
    if policy.on & FGW_RETRY_CONNECT_FAILURE and (fault == FAULT_CONNECT_FAILED or fault == FAULT_CONNECT_TIMEOUT):
        return True
    return policy.on & FGW_RETRY_REFUSED_STREAM != 0 and fault == FAULT_REFUSED


cdef bint covers_status(const fgw_img_retry *policy, const ResponseHead *head) noexcept:
    cdef uint32_t status = head.status
    if policy.on & FGW_RETRY_5XX and status >= 500:
        return True
    if policy.on & FGW_RETRY_GATEWAY_ERROR and 502 <= status <= 504:
        return True
    if policy.on & FGW_RETRY_RETRIABLE_4XX and status == 409:
        return True
    if policy.on & FGW_RETRY_STATUSES == 0 or status < 100:
        return False
    status -= 100
    return status < 512 and policy.statuses[status // 64] >> (status % 64) & 1


cdef bint is_ratelimited(const ResponseHead *head) noexcept:
    return fgw_find_field(head.base, head.fields, head.field_count, FGW_HDR_X_ENVOY, b"x-envoy-ratelimited", 19) != NULL


cdef int grpc_status(const ResponseHead *head) noexcept:
    """Of an answer whose head says it, which then has no more to say; -1 for none."""
    cdef const fgw_field *f = fgw_find_field(head.base, head.fields, head.field_count, FGW_HDR_GRPC_STATUS, b"grpc-status", 11)
    cdef int status = 0
    cdef uint32_t i
    if f == NULL or f.value_len == 0 or f.value_len > 2:
        return -1
    for i in range(f.value_len):
        if not 48 <= head.base[f.value_off + i] <= 57:
            return -1
        status = 10 * status + head.base[f.value_off + i] - 48
    return status


cdef bint is_idempotent(Exchange x) noexcept:
    cdef int m = x.head.req.method_id
    return (m == FGW_METHOD_GET or m == FGW_METHOD_HEAD or m == FGW_METHOD_OPTIONS or m == FGW_METHOD_PUT
            or m == FGW_METHOD_DELETE or m == FGW_METHOD_TRACE)
