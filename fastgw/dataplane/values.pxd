"""Values of a request and its connection."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.time cimport time_t, tm

from fastgw.dataplane.buffers cimport Pen
from fastgw.dataplane.certificate_texts cimport CertificateTexts
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.request_head cimport RequestHead
from fastgw.dataplane.served cimport Address, ClientSide, Served
from fastgw.dataplane.tls_facts cimport TlsFacts
from fastgw.dataplane.tunnel cimport Tunnel

cdef enum:
    VALUE_MAX = 8192           # bytes of one value from outside; longer ones are cut
    SECOND_BYTES = 20          # 2026-01-02T03:04:05.
    START_BYTES = 24           # and milliseconds, Z

cdef enum Style:
    STYLE_LOG = 1              # a line of text: quotes, controls and high bytes as \\xHH
    STYLE_JSON = 2             # inside a JSON string
    STYLE_FIELD = 3            # the value of a header field: as it is, without control characters


cdef struct Piece:
    int code                   # enum fgw_value
    int header_id              # of text, where it is the name of a field
    int other_id
    uint32_t ordinal           # of a response field among those that the log wants
    const char *text           # literal text, format of time, name of a field
    size_t text_len
    const char *other          # the field that is taken when the first is missing
    size_t other_len


cdef class Values(Pen):
    """A pen that is down while values are written."""
    cdef int style
    cdef size_t value_max      # of the next value
    cdef bint wrote            # the present value is not missing
    cdef int64_t second        # of the epoch: what `parts` and `second_text` are of
    cdef tm parts
    cdef char second_text[32]
    cdef FieldTable answer     # where response fields are looked up; None: among those kept for the log

    cdef bint write(self, const Piece *piece, Served x) except -1
    cdef int value(self, const Piece *piece, Served x, Exchange exchange, ClientSide client) except -1
    cdef int duration(self, Served x) except -1
    cdef int client_value(self, int code, ClientSide client, Exchange exchange) except -1
    cdef int remote_value(self, int code, ClientSide client, Exchange exchange) except -1
    cdef int direct_value(self, int code, ClientSide client) except -1
    cdef int local_value(self, int code, ClientSide client) except -1
    cdef int tls_value(self, int code, TlsFacts tls) except -1
    cdef int certificate_value(self, int code, CertificateTexts peer) except -1
    cdef int tunnel_value(self, int code, Tunnel x) except -1
    cdef int kept_text(self, bytes text) except -1
    cdef int exchange_value(self, const Piece *piece, Exchange x) except -1
    cdef int grpc_value(self, int code, Exchange x) except -1
    cdef int endpoint(self, Served x) except -1
    cdef int upstream_local(self, Served x, Exchange exchange) except -1
    cdef int route_value(self, int code, Served x) except -1
    cdef int request_header(self, const Piece *piece, RequestHead head) except -1
    cdef int response_header(self, const Piece *piece, Exchange x) except -1
    cdef int answer_header(self, const Piece *piece) except -1
    cdef int start_time(self, const Piece *piece, Served x) except -1
    cdef const char *start_text(self, int64_t wall_ns) noexcept
    cdef int begin_second(self, time_t seconds) noexcept
    cdef int conversion(self, char letter, time_t seconds) except -1
    cdef int plain(self, const char *text) except -1
    cdef int written(self, size_t n) except -1
    cdef int number(self, uint64_t n) except -1
    cdef int hexadecimal(self, const unsigned char *p, size_t n) except -1
    cdef int outside(self, const char *p, size_t n) except -1
    cdef int for_field(self, const char *p, size_t n) except -1


cdef size_t write_flags(char *out, uint32_t flags) noexcept
cdef size_t write_endpoint(char *out, const Address *a) noexcept
cdef size_t write_remote(char *out, ClientSide client, RequestHead head) noexcept
