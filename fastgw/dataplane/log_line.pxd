"""One line of the access log."""
from libc.stdint cimport uint32_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.served cimport ClientSide, Served
from fastgw.dataplane.values cimport Piece, Values
from fastgw.native.log_line cimport fgw_log_op, fgw_log_values


cdef class LogLine:
    cdef Values values
    cdef fgw_log_op *ops
    cdef int op_count
    cdef Piece *pieces             # their pointers go into `kept`
    cdef int piece_count
    cdef list kept                 # keeps the bytes that pieces point at
    cdef uint32_t response_pieces
    cdef bint wants_local          # Served.upstream_local is to be filled
    # what is laid out for fgw_log_write()
    cdef fgw_log_values known
    cdef uint32_t wanted           # texts that take some making: a set of bits
    cdef int[8] fields             # pieces of request fields, by slot
    cdef int field_count
    cdef char flags_text[80]
    cdef char host_text[80]
    cdef char local_text[80]
    cdef char remote_text[80]

    cdef int add(self, str lead, int code, str arg, bint json, size_t most) except -1
    cdef int add_piece(self, int code, str arg) except -1
    cdef int settle(self, fgw_log_op *op, int code, str arg) except -1
    cdef int keep(self, str text, const char **p, size_t *n) except -1
    cdef int write(self, Served x) except -1
    cdef int write_op(self, const fgw_log_op *op, Served x, Exchange exchange, ClientSide client) except -1
    cdef int lay_out(self, Exchange x) except -1
    cdef int lay_out_request(self, Exchange x) except -1
    cdef int lay_out_upstream(self, Exchange x) except -1
    cdef int lay_out_client(self, ClientSide client, Exchange x) except -1
