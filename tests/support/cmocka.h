/* cmocka wants these before it. */
#ifndef TALLY_TESTS_SUPPORT_CMOCKA_H
#define TALLY_TESTS_SUPPORT_CMOCKA_H

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#endif
