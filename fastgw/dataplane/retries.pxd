"""When requests are sent again."""
from libc.stdint cimport int64_t, uint32_t

from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.steps cimport RetryPolicy
from fastgw.dataplane.streams cimport ResponseHead
from fastgw.native.route cimport fgw_img_retry


cdef class RouteRetries(RetryPolicy):
    cdef fgw_img_retry standard    # of routes that ask for nothing (J4)
    cdef const fgw_img_retry *policy_of(self, Exchange x) noexcept
    cdef bint try_again(self, Exchange x, const fgw_img_retry *policy, bint untouched) except -1


cdef int64_t backoff_ms(Context ctx, uint32_t base_ms, uint32_t retry) noexcept
