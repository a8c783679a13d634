"""Which error page of a route, or of a host when no rule takes the request, an answer gets: by its status, then by what the client
accepts (RFC 9110 section 12.5.1)."""
from libc.stdint cimport uint32_t
from libc.string cimport memchr

from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport same_name
from fastgw.native.base cimport FGW_HDR_ACCEPT, fgw_field
from fastgw.native.route cimport FGW_NONE, fgw_img_page, fgw_table


cdef fgw_table pages_of(Exchange x) noexcept:
    cdef fgw_table none
    none.off = none.count = 0
    if x.has_policy:
        return x.image.route_policies[x.image.actions[x.route.action].policy].pages
    if x.image is not None and x.route.vhost != FGW_NONE and x.route.rule == FGW_NONE:
        return x.image.vhosts[x.route.vhost].pages
    return none


cdef const fgw_img_page *page_for(Exchange x, int status) noexcept:
    """NULL: none has this status. Pages of the status itself come before those of its class; of equally welcome ones, or when none
    is welcome, the first."""
    cdef fgw_table table = pages_of(x)
    cdef const fgw_img_page *pages
    cdef const fgw_img_page *best = NULL
    cdef const fgw_field *accept
    cdef int welcome, most = -1
    cdef uint32_t i
    if table.count == 0:
        return NULL
    pages = x.image.pages + table.off
    accept = x.head.find(FGW_HDR_ACCEPT, b"accept", 6)
    for i in range(table.count):
        if not pages[i].low <= status <= pages[i].high:
            continue
        if best != NULL and pages[i].low != best.low:
            break
        welcome = 1000
        if accept != NULL:
            welcome = quality(x.head.base + accept.value_off, accept.value_len, x.image.text(pages[i].content_type),
                              pages[i].content_type.len)
        if welcome > most:
            best, most = &pages[i], welcome
    return best


cdef int quality(const char *accept, size_t n, const char *media, size_t media_len) noexcept:
    """In thousandths, of the most specific range that names the media type; 0: not wanted."""
    cdef const char *semicolon = <const char *>memchr(media, 59, media_len)
    cdef size_t whole = <size_t>(semicolon - media) if semicolon != NULL else media_len
    cdef size_t slash = <size_t>(<const char *>memchr(media, 47, whole) - media)
    cdef size_t at = 0, end, name_end
    cdef int found = 0, rank = 0, own
    while at < n:
        while at < n and (accept[at] == 32 or accept[at] == 44 or accept[at] == 9):
            at += 1
        end = at
        while end < n and accept[end] != 44:
            end += 1
        name_end = at
        while name_end < end and accept[name_end] != 59 and accept[name_end] != 32:
            name_end += 1
        own = 0
        if name_end - at == 3 and accept[at] == 42:
            own = 1
        elif name_end - at == slash + 2 and accept[name_end - 1] == 42 and same_name(accept + at, media, slash + 1):
            own = 2
        elif name_end - at == whole and same_name(accept + at, media, whole):
            own = 3
        if own > rank:
            rank, found = own, weight(accept + name_end, end - name_end)
        at = end + 1
    return found


cdef int weight(const char *p, size_t n) noexcept:
    """Of parameters such as ";q=0.8", in thousandths."""
    cdef size_t i = 0
    cdef int value = 0, digit = 100
    while i + 2 < n:
        if (p[i] == 59 or p[i] == 32) and (p[i + 1] == 113 or p[i + 1] == 81) and p[i + 2] == 61:
            i += 3
            if i < n and p[i] == 49:
                return 1000
            i += 2
            while i < n and digit and 48 <= p[i] <= 57:
                value += digit * (p[i] - 48)
                digit //= 10
                i += 1
            return value
        i += 1
    return 1000
