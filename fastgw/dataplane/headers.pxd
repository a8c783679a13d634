"""Which fields cross the gateway, and the text of the ones it writes itself."""
from libc.stdint cimport uint8_t, uint32_t

from fastgw.native.base cimport fgw_field
from fastgw.native.text cimport fgw_write_decimal

cdef struct RequestMarks:
    uint32_t forwarded_for     # number of X-Forwarded-For fields
    uint32_t cookies
    uint32_t referers
    uint32_t underscores       # dropped for the underscore in their name
    bint rejected              # an underscore, and they are to be refused

cdef RequestMarks mark_request(fgw_field *fields, uint32_t count, int underscores) noexcept
cdef int mark_response(fgw_field *fields, uint32_t count) noexcept
cdef int mark_trailers(fgw_field *fields, uint32_t count, bint underscores) noexcept
cdef int drop_all(fgw_field *fields, uint32_t count, int header_id) noexcept
cdef bint is_absolute_url(const char *p, size_t n) noexcept
cdef size_t join_values(char *out, const char *base, const fgw_field *fields, uint32_t count, int header_id, const char *separator,
                        size_t separator_len) noexcept
cdef const char *status_phrase(int status) noexcept

cdef inline size_t write_decimal(char *out, unsigned long long n) noexcept:
    """Decimal digits of n (at most 20) into out; returns their number."""
    return fgw_write_decimal(out, n)


cdef inline void place(fgw_field *f, int header_id, size_t name_off, size_t name_len, size_t value_off, size_t value_len) noexcept:
    """Describe a field whose bytes lie at these offsets."""
    f.name_off = <uint32_t>name_off
    f.name_len = <unsigned short>name_len
    f.value_off = <uint32_t>value_off
    f.value_len = <uint32_t>value_len
    f.id = <uint8_t>header_id
    f.flags = 0
