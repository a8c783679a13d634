"""Which error page an answer gets: by its status, then by what the client accepts (RFC 9110 section 12.5.1). The pages of the route
are asked first, or those of the host when no rule takes the request, then those of the Gateway."""
from libc.stdint cimport uint32_t
from libc.string cimport memchr

from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.field_table cimport same_name
from fastgw.native.base cimport FGW_FIELD_HIDDEN, FGW_FIELD_LISTED, FGW_HDR_ACCEPT, fgw_field
from fastgw.native.route cimport FGW_NONE, FGW_ROUTE_NO_VHOST, fgw_img_page, fgw_table


cdef Page page_for(Exchange x, int status) noexcept:
    """Nothing is known of the host of a request that is refused before it is looked for: then there is no page."""
    cdef Page found
    found.page, found.negotiated = NULL, False
    if x.image is None:
        return found
    if x.route.vhost == FGW_NONE:
        if x.route.verdict == FGW_ROUTE_NO_VHOST and x.client.route_table != FGW_NONE:
            look_in(x, x.image.route_tables[x.client.route_table].pages, status, &found)
        return found
    look_in(x, own_pages(x), status, &found)
    if found.page == NULL:
        look_in(x, gateway_pages(x), status, &found)
    return found


cdef fgw_table own_pages(Exchange x) noexcept:
    cdef uint32_t policy
    cdef fgw_table pages = x.image.vhosts[x.route.vhost].pages
    pages.count = x.image.vhosts[x.route.vhost].own_pages if x.route.rule == FGW_NONE else 0
    if x.route.rule != FGW_NONE:
        policy = x.image.actions[x.route.action].policy
        if policy != FGW_NONE:
            return x.image.route_policies[policy].pages
    return pages


cdef fgw_table gateway_pages(Exchange x) noexcept:
    cdef fgw_table pages = x.image.vhosts[x.route.vhost].pages
    cdef uint32_t own = x.image.vhosts[x.route.vhost].own_pages
    pages.off, pages.count = pages.off + own, pages.count - own
    return pages


cdef int look_in(Exchange x, fgw_table table, int status, Page *found) noexcept:
    """The pages of one range that have the status stand together. Of equally welcome ones, or when none is welcome, the first."""
    cdef const fgw_img_page *pages = x.image.pages + table.off
    cdef int welcome, most = -1
    cdef uint32_t i
    for i in range(table.count):
        if not pages[i].low <= status <= pages[i].high:
            continue
        if found.page != NULL and (pages[i].low != found.page.low or pages[i].high != found.page.high):
            break
        welcome = welcome_to(x, x.image.text(pages[i].content_type), pages[i].content_type.len)
        found.negotiated = found.page != NULL
        if welcome > most:
            found.page, most = &pages[i], welcome
    return 0


cdef int welcome_to(Exchange x, const char *media, size_t n) noexcept:
    """In thousandths; all lines of the field are one list, and without it anything is welcome."""
    cdef const fgw_field *f
    cdef bint given = False
    cdef int found = 0, rank = 0
    cdef uint32_t i
    for i in range(x.head.field_count):
        f = &x.head.fields[i]
        if f.id == FGW_HDR_ACCEPT and f.name_len == 6 and not f.flags & (FGW_FIELD_HIDDEN | FGW_FIELD_LISTED):
            given = True
            quality(x.head.base + f.value_off, f.value_len, media, n, &found, &rank)
    return found if given else 1000


cdef int quality(const char *accept, size_t n, const char *media, size_t media_len, int *found, int *rank) noexcept:
    """Of the most specific range that names the media type, 0 when it is not wanted. ``rank``: how specific the one was that was
    found so far."""
    cdef const char *semicolon = <const char *>memchr(media, 59, media_len)
    cdef size_t whole = <size_t>(semicolon - media) if semicolon != NULL else media_len
    cdef size_t slash = <size_t>(<const char *>memchr(media, 47, whole) - media)
    cdef size_t at = 0, end, name_end
    cdef int own
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
        if own > rank[0]:
            rank[0], found[0] = own, weight(accept + name_end, end - name_end)
        at = end + 1
    return 0


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
