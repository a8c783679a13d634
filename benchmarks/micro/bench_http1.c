/* Nanoseconds a request head: fgw_parse_request, its scalar twin, fgw_write_fields, and picohttpparser when CMake was given
 * -DPICOHTTPPARSER_DIR. Each figure is the minimum over many short rounds; pin the process (taskset) for steady numbers.
 * fgw does more per head than picohttpparser: strictness, framing, Host checks and classification of names. */
#define _POSIX_C_SOURCE 200809L
#include "fgw/http1.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef HAVE_PICOHTTPPARSER
#include "picohttpparser.h"
#endif

enum { ROUNDS = 400, CALLS = 5000, FIELDS = 100 };

static const char nine_fields[] =
    "GET /wp-content/uploads/2010/03/hello-kitty-darth-vader-pink.jpg HTTP/1.1\r\n"
    "Host: www.kittyhell.com\r\n"
    "User-Agent: Mozilla/5.0 (Macintosh; U; Intel Mac OS X 10.6; ja-JP-mac; rv:1.9.2.3) Gecko/20100401 Firefox/3.6.3 "
    "Pathtraq/0.9\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: ja,en-us;q=0.7,en;q=0.3\r\n"
    "Accept-Encoding: gzip,deflate\r\n"
    "Accept-Charset: Shift_JIS,utf-8;q=0.7,*;q=0.7\r\n"
    "Keep-Alive: 115\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: wp_ozh_wsa_visits=2; wp_ozh_wsa_visit_lasttime=xxxxxxxxxx; "
    "__utma=xxxxxxxxx.xxxxxxxxxx.xxxxxxxxxx.xxxxxxxxxx.xxxxxxxxxx.x; "
    "__utmz=xxxxxxxxx.xxxxxxxxxx.x.x.utmccn=(referral)|utmcsr=reader.livedoor.com|utmcct=/reader/|utmcmd=referral\r\n"
    "\r\n";

static const char fifteen_fields[] =
    "GET /api/catalog/items?page=3&sort=price HTTP/1.1\r\n"
    "Host: webapp.istioinaction.io\r\n"
    "Connection: keep-alive\r\n"
    "Cache-Control: max-age=0\r\n"
    "sec-ch-ua: \"Chromium\";v=\"124\", \"Not-A.Brand\";v=\"99\"\r\n"
    "sec-ch-ua-mobile: ?0\r\n"
    "sec-ch-ua-platform: \"Linux\"\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    "Sec-Fetch-Site: none\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-User: ?1\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: en-GB,en;q=0.9\r\n"
    "\r\n";

static const char small[] = "GET / HTTP/1.1\r\nHost: webapp.test\r\nUser-Agent: curl/8.0.1\r\nAccept: */*\r\n\r\n";

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

typedef long (*one_call)(const char *p, size_t n);

static const fgw_limits limits = {61440, 16384, FIELDS, 0};
static fgw_field fields[FIELDS + 1];
static fgw_request request;

static long call_fgw(const char *p, size_t n) { return fgw_parse_request(p, n, 0, &limits, &request, fields, FIELDS + 1); }
static long call_scalar(const char *p, size_t n) {
    return fgw_parse_request_scalar(p, n, 0, &limits, &request, fields, FIELDS + 1);
}
static long call_write(const char *p, size_t n) {
    static char out[4096];
    (void)n;
    return (long)(fgw_fields_size(fields, request.field_count) + fgw_write_fields(out, p, fields, request.field_count));
}
#ifdef HAVE_PICOHTTPPARSER
static long call_pico(const char *p, size_t n) {
    const char *method, *path;
    size_t method_len, path_len, count = FIELDS;
    int minor;
    static struct phr_header headers[FIELDS];
    return phr_parse_request(p, n, &method, &method_len, &path, &path_len, &minor, headers, &count, 0);
}
#endif

/* The input ends where its heap block ends, as a received head ends where the receive buffer does. */
static void measure(const char *what, one_call call, const char *text, size_t n) {
    char *copy = malloc(n);
    double best = 1e18;
    if (copy == NULL)
        abort();
    memcpy(copy, text, n);
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (int i = 0; i < CALLS; i++) {
            __asm__ volatile("" ::"r"(copy) : "memory");
            if (call(copy, n) <= 0)
                abort();
        }
        double spent = (now_ns() - start) / CALLS;
        best = spent < best ? spent : best;
    }
    printf("  %-16s %7.1f ns  %5.2f GB/s\n", what, best, (double)n / best);
    free(copy);
}

static void measure_all(const char *title, const char *text) {
    size_t n = strlen(text);
    printf("%s: %zu bytes\n", title, n);
    measure(fgw_simd_name(), call_fgw, text, n);
    measure("write_fields", call_write, text, n);
    measure("scalar", call_scalar, text, n);
#ifdef HAVE_PICOHTTPPARSER
    measure("picohttpparser", call_pico, text, n);
#endif
}

int main(void) {
    measure_all("browser, 9 fields", nine_fields);
    measure_all("browser, 15 fields", fifteen_fields);
    measure_all("small, 3 fields", small);
    return 0;
}
