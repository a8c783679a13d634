/* The tables behind chars.h, computed by the compiler from the rules so that no table is typed by hand. */
#include "chars.h"

#define IN(c, lo, hi) ((c) >= (lo) && (c) <= (hi))
#define DIGIT(c) IN(c, '0', '9')
#define ALPHA(c) (IN(c, 'a', 'z') || IN(c, 'A', 'Z'))
#define TOKEN_MARK(c)                                                                                                              \
    ((c) == '!' || (c) == '#' || (c) == '$' || (c) == '%' || (c) == '&' || (c) == '\'' || (c) == '*' || (c) == '+' ||              \
     (c) == '-' || (c) == '.' || (c) == '^' || (c) == '_' || (c) == '`' || (c) == '|' || (c) == '~')
#define HOST(c) (ALPHA(c) || DIGIT(c) || (c) == '-' || (c) == '.' || (c) == '_')
#define CLASS(c)                                                                                                                   \
    ((ALPHA(c) || DIGIT(c) || TOKEN_MARK(c) ? FGW_C_TOKEN : 0) |                                                                   \
     ((c) == '\t' || IN(c, 0x20, 0x7e) || (c) >= 0x80 ? FGW_C_VALUE : 0) | (IN(c, 0x21, 0x7e) ? FGW_C_TARGET : 0) |                \
     (HOST(c) ? FGW_C_HOST : 0) | (HOST(c) || (c) == '~' ? FGW_C_UNRESERVED : 0) | (DIGIT(c) ? FGW_C_DIGIT : 0) |                  \
     ((c) == '_' ? FGW_C_UNDERSCORE : 0) | (ALPHA(c) ? FGW_C_ALPHA : 0))
#define HEX(c) ((uint8_t)(DIGIT(c) ? (c) - '0' : IN(c, 'a', 'f') ? (c) - 'a' + 10 : IN(c, 'A', 'F') ? (c) - 'A' + 10 : 0xff))

#define FOUR(f, c) f(c), f((c) + 1), f((c) + 2), f((c) + 3)
#define SIXTEEN(f, c) FOUR(f, c), FOUR(f, (c) + 4), FOUR(f, (c) + 8), FOUR(f, (c) + 12)
#define SIXTY_FOUR(f, c) SIXTEEN(f, c), SIXTEEN(f, (c) + 16), SIXTEEN(f, (c) + 32), SIXTEEN(f, (c) + 48)
#define ALL(f) SIXTY_FOUR(f, 0), SIXTY_FOUR(f, 64), SIXTY_FOUR(f, 128), SIXTY_FOUR(f, 192)

#define EIGHT_OF(c) (char)(c), (char)(c), (char)(c), (char)(c), (char)(c), (char)(c), (char)(c), (char)(c)
#define FILLED(c)                                                                                                                  \
    { EIGHT_OF(c), EIGHT_OF(c), EIGHT_OF(c), EIGHT_OF(c) }

_Alignas(64) const char fgw_filled[256][32] = {ALL(FILLED)};
const uint8_t fgw_char_class[256] = {ALL(CLASS)};
const uint8_t fgw_hex_value[256] = {ALL(HEX)};
