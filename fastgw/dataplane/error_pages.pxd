"""Bodies of the gateway's own answers that a route brings along."""
from fastgw.dataplane.exchange cimport Exchange
from fastgw.native.route cimport fgw_img_page

cdef const fgw_img_page *page_for(Exchange x, int status) noexcept
