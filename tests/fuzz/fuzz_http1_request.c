/* Request heads. */
#define HEAD fgw_request
#define PARSE fgw_parse_request
#define PARSE_SCALAR fgw_parse_request_scalar
#include "heads.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    check_heads(data, n, "POST / HTTP/1.1\r\n");
    return 0;
}
