#include "service/shell/glob.h"

static uint8_t fold(uint8_t c, bool folds)
{
    return folds && c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
}

/* Matches c against the set that begins behind the bracket at *at, and moves behind the set. */
static bool in_set(struct tly_slice pattern, size_t *at, uint8_t c, bool folds)
{
    size_t i = *at + 1;
    bool negated = i < pattern.n && pattern.p[i] == '^', found = false;
    i += negated;
    while (i < pattern.n && pattern.p[i] != ']') {
        if (pattern.p[i] == '\\' && i + 1 < pattern.n) i++;
        uint8_t low = fold(pattern.p[i], folds), high = low;
        if (i + 2 < pattern.n && pattern.p[i + 1] == '-') {
            high = fold(pattern.p[i + 2], folds);
            i += 2;
        }
        found = found || (c >= low && c <= high) || (c >= high && c <= low);
        i++;
    }
    *at = i < pattern.n ? i + 1 : i;
    return found != negated;
}

/* Matches one character against the item at *at, which is no star, and moves behind it. */
static bool one(struct tly_slice pattern, size_t *at, uint8_t c, bool folds)
{
    uint8_t item = pattern.p[*at];
    if (item == '[') return in_set(pattern, at, fold(c, folds), folds);
    if (item == '\\' && *at + 1 < pattern.n)
        item = pattern.p[++*at];
    else if (item == '?')
        item = c;
    ++*at;
    return fold(item, folds) == fold(c, folds);
}

static bool match(struct tly_slice pattern, struct tly_slice text, bool folds)
{
    /* Behind the last star, and where in the text it was tried last: the only place to come back to. */
    size_t p = 0, t = 0, star = SIZE_MAX, tried = 0;
    while (t < text.n) {
        size_t next = p;
        if (p < pattern.n && pattern.p[p] == '*') {
            star = ++p;
            tried = t;
        } else if (p < pattern.n && one(pattern, &next, text.p[t], folds)) {
            p = next;
            t++;
        } else if (star != SIZE_MAX) {
            p = star;
            t = ++tried;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}

bool tly_glob(struct tly_slice pattern, struct tly_slice text)
{
    return match(pattern, text, false);
}

bool tly_glob_fold(struct tly_slice pattern, struct tly_slice text)
{
    return match(pattern, text, true);
}
