/* Response heads. */
#define HEAD fgw_response
#define PARSE fgw_parse_response
#define PARSE_SCALAR fgw_parse_response_scalar
#include "heads.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    check_heads(data, n, "HTTP/1.1 200 OK\r\n");
    return 0;
}
