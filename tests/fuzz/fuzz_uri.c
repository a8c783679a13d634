/* Paths and authorities: normalisation ends, stays in its room, and a second one changes nothing. */
#include "fgw/uri.h"
#include "fuzz.h"

static void check_path(const char *path, size_t n, int mode) {
    char *out = malloc(n + 1);
    PROMISE(out != NULL);
    long len = fgw_path_normalize(path, n, mode, out, n + 1);
    PROMISE(len != 0 && len <= (long)n + 1);
    if (mode == FGW_PATH_BASE)
        PROMISE(fgw_path_is_normal(path, n) == (len == (long)n && memcmp(out, path, n) == 0));
    if (len > 0 && mode != FGW_PATH_DECODE_AND_MERGE) {
        char *again = malloc((size_t)len + 1);
        PROMISE(again != NULL && fgw_path_normalize(out, (size_t)len, mode, again, (size_t)len + 1) == len);
        PROMISE(memcmp(again, out, (size_t)len) == 0);
        free(again);
    }
    free(out);
}

static void check_authority(const char *p, size_t n) {
    fgw_span host;
    uint32_t port;
    long answer = fgw_authority_split(p, n, &host, &port);
    PROMISE(answer == -FGW_R_BAD_HOST || answer == (long)n);
    if (answer > 0)
        PROMISE(host.off == 0 && host.len > 0 && host.len <= n && port <= 65535);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    char *p = exact_copy(data, n);
    for (int mode = FGW_PATH_NONE; mode <= FGW_PATH_DECODE_AND_MERGE; mode++)
        check_path(p, n, mode);
    check_authority(p, n);
    free(p);
    return 0;
}
