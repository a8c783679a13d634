/* RE2 behind a C face: linear time, bounded memory. The one part of ext/ that is C++ and that allocates. */
#ifndef FGW_REGEX_H
#define FGW_REGEX_H
#include "route.h"

#ifdef __cplusplus
extern "C" {
#endif
/* cffi:begin */
/* The regexes of one image; compiled at first use. NULL when memory is short. The image must outlive them. `before`: those of the
 * image that this one replaces, or NULL; what has been compiled for it, or not many images ago, is not compiled again. The two may be
 * used and closed in any order, by one thread. */
fgw_regexes *fgw_regexes_open(const void *image, const fgw_regexes *before);
void fgw_regexes_close(fgw_regexes *regexes);
/* Regexes and sets that have been compiled until now, for this image and those before it. */
uint64_t fgw_regexes_compiled(const fgw_regexes *regexes);
/* Full match of regex `index`; a pattern that does not compile never matches. */
int fgw_regexes_match(fgw_regexes *regexes, uint32_t index, const char *text, size_t n);
/* Full match of all members of the image's regex set `set` in one pass over the text, see fgw_regex_calls.many. */
long fgw_regexes_match_set(fgw_regexes *regexes, uint32_t set, const char *text, size_t n, const uint32_t **hits);
/* Replace every match in the text, see fgw_regex_calls.replace. */
long fgw_regexes_replace(fgw_regexes *regexes, uint32_t index, const char *text, size_t n, const char *by, size_t by_len, char *to,
                         size_t cap);
/* All of them, for the matcher. */
const fgw_regex_calls *fgw_regexes_calls(void);
/* Check a pattern at compile time: 0 is fine, 1 is not; then `message` (cap bytes) says why, NUL-terminated. Also gives the
 * literal prefix that every match begins with (prefix_cap bytes, *prefix_len written). */
int fgw_regex_check(const char *pattern, size_t n, int ignore_case, char *message, size_t cap, char *prefix, size_t prefix_cap,
                    size_t *prefix_len);
/* Can `by` replace matches of a pattern that compiles: does it name only groups that there are? 0 is fine, 1 is not; then
 * `message` says why. */
int fgw_regex_check_replacement(const char *pattern, size_t n, const char *by, size_t by_len, char *message, size_t cap);
/* Does `pattern` match the whole text? For tools, not for traffic: compiles every time. -1 when it does not compile. */
int fgw_regex_full_match(const char *pattern, size_t n, const char *text, size_t text_len);
/* cffi:end */
#ifdef __cplusplus
}
#endif

#endif
