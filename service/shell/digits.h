/* Numbers in decimal, as answers have them: written backwards, two digits at a time. */
#ifndef TALLY_SERVICE_SHELL_DIGITS_H
#define TALLY_SERVICE_SHELL_DIGITS_H

#include <stdint.h>
#include <string.h>

/* Of a 64-bit number, with a sign before it. */
#define TLY_DIGITS_MAX 20

static const char tly_two_digits[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
    "49505152535455565758596061626364656667686970717273747576777879808182838485868788899091929394959697"
    "9899";

/* Writes a number's digits so that they end before `end`; where they begin. */
static inline uint8_t *tly_digits(uint8_t *end, uint64_t rest)
{
    for (; rest >= 100; rest /= 100)
        memcpy(end -= 2, tly_two_digits + rest % 100 * 2, 2);
    if (rest < 10)
        *--end = (uint8_t)('0' + rest);
    else
        memcpy(end -= 2, tly_two_digits + rest * 2, 2);
    return end;
}

/* The same with a minus sign where it takes one. */
static inline uint8_t *tly_digits_signed(uint8_t *end, int64_t number)
{
    end = tly_digits(end, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
    if (number < 0) *--end = '-';
    return end;
}

#endif
