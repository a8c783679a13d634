"""Edits of header fields that a route asks for (section K).

Of a block, first all removals are done, then all values are made (they see the fields without the removed and before the set ones,
as Envoy's), then fields are set and added. A value that comes out empty changes nothing (K4).
"""
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

import cython

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.context cimport Image
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.steps cimport HeaderEditor
from fastgw.dataplane.values cimport STYLE_FIELD, Piece, Values
from fastgw.native.base cimport FGW_HDR_X_ENVOY
from fastgw.native.fields cimport fgw_hide_fields
from fastgw.native.route cimport (
    FGW_EDIT_REMOVE, FGW_EDIT_SET, FGW_NONE, FGW_VALUE_TEXT, fgw_img_edit, fgw_img_edits, fgw_img_part, fgw_regexes_calls,
    fgw_rewrite_path, fgw_rewrite_path_max, fgw_route_request, fgw_table,
)

cdef enum:
    ADDED_MAX = 65536          # bytes of fields that the edits of one message may add


@cython.final
@cython.nonecheck(False)  # a message is edited with its image and its fields
cdef class HeaderEdits(HeaderEditor):
    def __cinit__(self):
        self.made = Buffer()
        self.values = Values(self.made, STYLE_FIELD)

    cdef int edit_request(self, Exchange x) except -1:
        """OverflowError when it becomes too large."""
        cdef Image image = x.image
        cdef const fgw_img_edits *route = &image.actions[x.route.action].edits
        cdef const fgw_img_edits *own = &image.destinations[x.destination].edits
        cdef uint32_t policy = image.actions[x.route.action].policy
        self.left = ADDED_MAX
        self.values.answer = None
        if own.request.count:
            self.block(x, x.head, own.request)
        if route.request.count:
            self.block(x, x.head, route.request)
        if route.authority.len:
            x.head.rewrite_authority(image.strings + route.authority.off, route.authority.len)
        elif own.authority.len:
            x.head.rewrite_authority(image.strings + own.authority.off, own.authority.len)
        if policy != FGW_NONE and image.route_policies[policy].rewrite:
            self.rewrite_path(x)
        return 0

    cdef int rewrite_path(self, Exchange x) except -1:
        """After the edits, which see the client's path (M11 to M14); the upstream learns it by x-envoy-original-path (K20)."""
        cdef Image image = x.image
        cdef fgw_route_request q
        cdef size_t room, path_len = 0
        cdef long n
        x.head.describe(&q)
        room = fgw_rewrite_path_max(image.base, x.route.rule, &q)
        if room == 0:
            return 0
        self.made.release()
        n = fgw_rewrite_path(image.base, x.route.rule, &q, image.regexes, fgw_regexes_calls(), self.made.reserve(room), room,
                             &path_len)
        if n < 0:
            self.made.release()
            raise OverflowError("the rewritten path")
        if n:
            x.head.add_field(FGW_HDR_X_ENVOY, b"x-envoy-original-path", 21, x.head.path, x.head.raw_path_len)
            x.head.rewrite_path(self.made.data, <size_t>n, path_len)
        return self.made.release()

    cdef int edit_answer(self, Exchange x, FieldTable fields) except -1:
        """The same."""
        cdef Image image = x.image
        cdef const fgw_img_edits *route = &image.actions[x.route.action].edits
        self.left = ADDED_MAX
        self.values.answer = fields
        try:
            if x.destination != FGW_NONE and image.destinations[x.destination].edits.response.count:
                self.block(x, fields, image.destinations[x.destination].edits.response)
            if route.response.count:
                self.block(x, fields, route.response)
        finally:
            self.values.answer = None
        return 0

    cdef int block(self, Exchange x, FieldTable fields, fgw_table edits) except -1:
        cdef Image image = x.image
        cdef const fgw_img_edit *edit = image.edits + edits.off
        cdef const fgw_img_edit *end = edit + edits.count
        cdef const fgw_img_part *part
        cdef bint made = False
        while edit < end:
            if edit.kind == FGW_EDIT_REMOVE:
                fgw_hide_fields(fields.base, fields.fields, fields.field_count, edit.header_id, image.strings + edit.name.off,
                                edit.name.len)
            elif not is_literal(edit, &image.parts[edit.value.off]):
                made = True
            edit += 1
        if made:
            return self.apply_made(x, fields, edits)
        edit = end - edits.count
        while edit < end:
            if edit.value.count:
                part = &image.parts[edit.value.off]
                self.put(fields, edit, image.strings + edit.name.off, image.strings + part.text.off, part.text.len)
            edit += 1
        return 0

    cdef int put(self, FieldTable fields, const fgw_img_edit *edit, const char *name, const char *value, uint32_t n) except -1:
        """Set or add one field."""
        if n == 0:
            return 0
        if edit.name.len + n > self.left:
            raise OverflowError("edited header fields")
        self.left -= edit.name.len + n
        if edit.kind == FGW_EDIT_SET:
            fgw_hide_fields(fields.base, fields.fields, fields.field_count, edit.header_id, name, edit.name.len)
        return fields.add_field(edit.header_id, name, edit.name.len, value, n)

    cdef int apply_made(self, Exchange x, FieldTable fields, fgw_table edits) except -1:
        """Where values have to be made: all of them before the first is set."""
        cdef Image image = x.image
        cdef const fgw_img_edit *edit
        cdef uint32_t i
        cdef size_t at = 0
        self.made.release()
        try:
            for i in range(edits.count):
                self.make(x, &image.edits[edits.off + i])
            for i in range(edits.count):
                edit = &image.edits[edits.off + i]
                if edit.kind != FGW_EDIT_REMOVE:
                    at += self.apply(image, fields, edit, self.made.head() + at)
        finally:
            self.made.release()
        return 0

    cdef int make(self, Exchange x, const fgw_img_edit *edit) except -1:
        """The value behind its length; literal ones are taken from the image later."""
        cdef Image image = x.image
        cdef const fgw_img_part *part = &image.parts[edit.value.off]
        cdef const char *strings = image.strings
        cdef Piece piece
        cdef uint32_t i, length = 0
        cdef size_t start = self.made.size()
        if is_literal(edit, part):
            return 0
        self.made.append(<const char *>&length, sizeof(length))
        self.values.down()
        for i in range(edit.value.count):
            piece.code, piece.header_id, piece.other_id, piece.ordinal = part[i].code, part[i].header_id, part[i].other_id, 0
            piece.text, piece.text_len = strings + part[i].text.off, part[i].text.len
            piece.other, piece.other_len = strings + part[i].other.off, part[i].other.len
            self.values.value_max = min(part[i].limit, <uint32_t>ADDED_MAX)
            self.values.write(&piece, x)
        self.values.lift()
        length = <uint32_t>(self.made.size() - start - sizeof(length))
        memcpy(self.made.head() + start, &length, sizeof(length))
        return 0

    cdef size_t apply(self, Image image, FieldTable fields, const fgw_img_edit *edit, const char *made) except? <size_t>-1:
        """Set or add one field; bytes of ``made`` that were its value."""
        cdef const fgw_img_part *part = &image.parts[edit.value.off]
        cdef uint32_t length
        cdef size_t used = 0
        if edit.value.count == 0:
            return 0
        if is_literal(edit, part):
            made, length = image.strings + part.text.off, part.text.len
        else:
            memcpy(&length, made, sizeof(length))
            made += sizeof(length)
            used = sizeof(length) + length
        self.put(fields, edit, image.strings + edit.name.off, made, length)
        return used


cdef bint is_literal(const fgw_img_edit *edit, const fgw_img_part *part) noexcept:
    return edit.value.count == 0 or (edit.value.count == 1 and part.code == FGW_VALUE_TEXT)
