/* Guards of a checked image. */
#include "fgw/guard.h"

#include "image_read.h"

uint32_t fgw_guard_denies(const void *image, uint32_t guard, const fgw_ip *ip, int *named) {
    const fgw_img_guard *g = FGW_TABLE(image, guards, fgw_img_guard) + guard;
    const fgw_img_source_list *lists = FGW_TABLE(image, source_lists, fgw_img_source_list);
    for (uint32_t i = g->sources.off; i < g->sources.off + g->sources.count; i++) {
        const uint32_t found = ip != NULL ? fgw_cidr_find(fgw_strings_of(image) + lists[i].networks.off, *ip) : 0;
        if ((found != 0 ? found : lists[i].otherwise) != FGW_SOURCE_ALLOWED) {
            *named = found != 0;
            return i;
        }
    }
    return FGW_NONE;
}
