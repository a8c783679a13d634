/* What the native tests share: checks that name the place, inputs at guard pages, the wire cases. */
#ifndef FGW_TESTS_SUPPORT_H
#define FGW_TESTS_SUPPORT_H
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

extern int failures;

#define CHECK(condition) check_at((condition) != 0, __FILE__, __LINE__, #condition)
#define CHECK_EQ(got, wanted) check_eq_at((long)(got), (long)(wanted), __FILE__, __LINE__, #got)

void check_at(int ok, const char *file, int line, const char *text);
void check_eq_at(long got, long wanted, const char *file, int line, const char *text);

enum { GUARDED_MAX = 1 << 18 };

/* Copies of the bytes: the last byte is followed, or the first one preceded, by a page that may not be touched. The copy
 * lives until the next call of the same function. */
char *guard_after(const void *p, size_t n);
char *guard_before(const void *p, size_t n);

/* A reproducible stream of numbers. */
uint64_t next_random(uint64_t *state);

/* Calls visit(id, verdict of the head, bytes, n) for each case of tests/wire/<name>.tsv; the number of cases. */
typedef void (*visit_case)(const char *id, const char *verdict, const char *p, size_t n);
int each_case(const char *name, visit_case visit);

/* What main() returns. */
int test_result(const char *name);

#endif
