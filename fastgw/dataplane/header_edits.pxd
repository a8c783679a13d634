"""Edited header fields of requests and answers."""
from libc.stdint cimport uint32_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.context cimport Image
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.steps cimport HeaderEditor
from fastgw.dataplane.values cimport Values
from fastgw.native.route cimport fgw_img_edit, fgw_table


cdef class HeaderEdits(HeaderEditor):
    cdef Values values
    cdef Buffer made               # values of a block: a length, and so many bytes
    cdef size_t left               # bytes that may still be added
    cdef int rewrite_path(self, Exchange x) except -1
    cdef int block(self, Exchange x, FieldTable fields, fgw_table edits) except -1
    cdef int put(self, FieldTable fields, const fgw_img_edit *edit, const char *name, const char *value, uint32_t n) except -1
    cdef int apply_made(self, Exchange x, FieldTable fields, fgw_table edits) except -1
    cdef int make(self, Exchange x, const fgw_img_edit *edit) except -1
    cdef size_t apply(self, Image image, FieldTable fields, const fgw_img_edit *edit, const char *made) except? <size_t>-1
