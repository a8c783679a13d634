/* ClientHellos: a shorter input asks for more or is refused for the same reason. */
#include "fgw/tls_hello.h"
#include "fgw/http1.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    fgw_hello hello, part;
    char *p = exact_copy(data, n);
    long whole = fgw_tls_hello_peek(p, n, &hello);
    PROMISE(whole <= (long)n && whole > -FGW_R_COUNT);
    free(p);
    if (whole > 0)
        PROMISE(hello.sni[hello.sni_len] == '\0' && hello.has_sni == (hello.sni_len != 0) && hello.alpn_len <= FGW_HELLO_ALPN_MAX);
    size_t at = n == 0 ? 0 : n * data[n - 1] / 256;
    p = exact_copy(data, at);
    long shorter = fgw_tls_hello_peek(p, at, &part);
    PROMISE(shorter == 0 || shorter == whole);
    free(p);
    return 0;
}
