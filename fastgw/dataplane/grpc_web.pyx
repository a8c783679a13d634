"""gRPC-Web (PROTOCOL-WEB.md of gRPC), as Envoy's grpc_web filter does it.

Messages are the same; a browser's come as they are or as base64. Trailers, which browsers cannot see, become a last message
with a flag of its own. An answer that is not gRPC passes as it is: its HTTP status tells the client enough.
"""
from libc.stdint cimport uint32_t
from libc.string cimport memset

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.steps cimport Translation, Translator
from fastgw.dataplane.streams cimport ResponseHead
from fastgw.native.base cimport (
    FGW_FIELD_DROP, FGW_HDR_ACCEPT, FGW_HDR_CONTENT_TYPE, FGW_R_BAD_GRPC_WEB, fgw_field,
)
from fastgw.native.fields cimport fgw_find_field
from fastgw.native.grpc cimport (
    FGW_GRPC_NOT, FGW_GRPC_PLAIN, FGW_GRPC_TEXT_ROOM, FGW_GRPC_WEB_PREFIX, FGW_GRPC_WEB_TEXT, FGW_GRPC_WEB_TRAILERS,
    fgw_base64_complete, fgw_base64_decode, fgw_grpc_kind_of, fgw_grpc_text_encode,
)
from fastgw.native.http1 cimport FGW_FRAMING_CHUNKED, FGW_FRAMING_NONE, FGW_MSG_TE_TRAILERS

cdef enum:
    FORM = 64                    # room for a content type


cdef class GrpcWebTranslator(Translator):
    cdef Translation start(self, Exchange x):
        cdef GrpcWeb made = GrpcWeb()
        made.begin(x)
        return made


cdef class GrpcWeb(Translation):
    cdef int begin(self, Exchange x) except -1:
        """The request's head becomes gRPC's. OverflowError when it is too large for that."""
        cdef const fgw_field *accept = x.head.find(FGW_HDR_ACCEPT, b"accept", 6)
        cdef int wanted = FGW_GRPC_NOT
        self.text_request = x.grpc == FGW_GRPC_WEB_TEXT
        if accept != NULL:
            wanted = fgw_grpc_kind_of(x.head.base + accept.value_off, accept.value_len)
        self.text_answer = wanted == FGW_GRPC_WEB_TEXT if wanted > FGW_GRPC_PLAIN else self.text_request
        x.head.remove(FGW_HDR_CONTENT_TYPE, b"content-type", 12)
        x.head.add_field(FGW_HDR_CONTENT_TYPE, b"content-type", 12, b"application/grpc", 16)
        x.head.req.flags |= FGW_MSG_TE_TRAILERS
        if self.text_request and not x.request_done:
            x.head.req.framing = FGW_FRAMING_CHUNKED  # its length is another one
        memset(&self.decoder, 0, sizeof(self.decoder))
        memset(&self.encoder, 0, sizeof(self.encoder))
        return 0

    cdef int request_body(self, const char *p, size_t n) except -1:
        cdef long used
        if not self.text_request:
            self.out.append(p, n)
            return 0
        used = fgw_base64_decode(&self.decoder, p, n, self.out.reserve(n // 4 * 3 + 6))
        if used < 0:
            return FGW_R_BAD_GRPC_WEB
        self.out.end += <size_t>used
        return 0

    cdef int request_end(self) except -1:
        return 0 if fgw_base64_complete(&self.decoder) else FGW_R_BAD_GRPC_WEB

    cdef int answer_head(self, Exchange x, ResponseHead *head, bint copied) except -1:
        cdef const fgw_field *f = fgw_find_field(
            head.base, head.fields, head.field_count, FGW_HDR_CONTENT_TYPE, b"content-type", 12)
        cdef FieldTable fields
        cdef uint32_t i
        if f == NULL or fgw_grpc_kind_of(head.base + f.value_off, f.value_len) != FGW_GRPC_PLAIN:
            self.passes = True
            return 0
        if x.answer is None:
            x.answer = FieldTable()
        fields = x.answer
        if not copied:
            fields.release()
            fields.load(head.base, head.head_bytes, head.fields, head.field_count, FORM, 1)
        for i in range(fields.field_count):
            if fields.fields[i].id == FGW_HDR_CONTENT_TYPE:
                fields.fields[i].flags |= FGW_FIELD_DROP
        if self.text_answer:
            fields.add_field(FGW_HDR_CONTENT_TYPE, b"content-type", 12, b"application/grpc-web-text+proto", 31)
        else:
            fields.add_field(FGW_HDR_CONTENT_TYPE, b"content-type", 12, b"application/grpc-web+proto", 26)
        head.base, head.fields, head.field_count = fields.base, fields.fields, fields.field_count
        if head.framing != FGW_FRAMING_NONE:
            head.framing = FGW_FRAMING_CHUNKED  # trailers lengthen it
            head.has_content_length = False
        return 0

    cdef int answer_body(self, const char *p, size_t n) except -1:
        if self.passes:
            return self.out.append(p, n)
        return self.put(p, n)

    cdef int answer_trailers(self, const char *base, const fgw_field *fields, uint32_t count) except -1:
        """As a message: names in lower case, a line each."""
        cdef Buffer lines
        cdef char prefix[FGW_GRPC_WEB_PREFIX]
        cdef size_t n
        cdef uint32_t i
        if self.passes:
            return 0
        lines = Buffer()
        for i in range(count):
            if fields[i].flags & FGW_FIELD_DROP:
                continue
            lower(lines, base + fields[i].name_off, fields[i].name_len)
            lines.append(b":", 1)
            lines.append(base + fields[i].value_off, fields[i].value_len)
            lines.append(b"\r\n", 2)
        n = lines.size()
        prefix[0] = <char>FGW_GRPC_WEB_TRAILERS
        prefix[1], prefix[2], prefix[3], prefix[4] = <char>(n >> 24), <char>(n >> 16), <char>(n >> 8), <char>n
        self.put(prefix, FGW_GRPC_WEB_PREFIX)
        self.put(lines.head(), n)
        return lines.release()

    cdef int put(self, const char *p, size_t n) except -1:
        if not self.text_answer:
            return self.out.append(p, n)
        self.out.end += fgw_grpc_text_encode(&self.encoder, p, n, self.out.reserve(FGW_GRPC_TEXT_ROOM(n)))
        return 0


cdef int lower(Buffer out, const char *p, size_t n) except -1:
    cdef char *to = out.reserve(n)
    cdef size_t i
    for i in range(n):
        to[i] = <char>(p[i] + 32) if 65 <= p[i] <= 90 else p[i]
    out.end += n
    return 0
