"""Bodies of the gateway's own answers that the configuration brings along."""
from fastgw.dataplane.exchange cimport Exchange
from fastgw.native.route cimport fgw_img_page


cdef struct Page:
    const fgw_img_page *page     # NULL: none has this status
    bint negotiated              # there was something to choose from


cdef Page page_for(Exchange x, int status) noexcept
