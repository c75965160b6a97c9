/* Why a verdict is what it is, in words and numbers. */
#include "service/engine/engine.h"

const char *tly_reason_word(enum tly_reason reason)
{
    static const char *const words[] = {
#define WORD(name, word) [TLY_REASON_##name] = (word),
        TLY_REASONS(WORD)
#undef WORD
    };
    return (size_t)reason < TLY_REASON_COUNT ? words[reason] : "unknown";
}

/* There is no printf in the pure layers. */
struct text {
    char *at;
    size_t n;
};

static void put(struct text *text, const char *words)
{
    for (; *words != '\0' && text->n + 1 < TLY_WHY_BYTES_MAX; words++)
        text->at[text->n++] = *words;
    text->at[text->n] = '\0';
}

static void put_number(struct text *text, uint64_t number)
{
    char digits[24];
    size_t at = sizeof digits - 1;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    put(text, digits + at);
}

static void put_term(struct text *text, const char *before, uint64_t number, const char *behind)
{
    put(text, before);
    put_number(text, number);
    put(text, behind);
}

/* By how much a counter was less than nothing before these hits. */
static uint64_t below_nothing(const struct tly_verdict *verdict, uint64_t hits)
{
    uint64_t below = verdict->algorithm == TLY_COUNTER ? verdict->below + hits : 0;
    return below > verdict->used ? below - verdict->used : 0;
}

/* "60 used here, 30 elsewhere, 5 projected". */
static void put_used(struct text *text, const struct tly_verdict *verdict, uint64_t hits)
{
    uint64_t below = below_nothing(verdict, hits), used = below > 0 ? 0 : verdict->used - hits;
    bool is_flight = verdict->algorithm == TLY_CONCURRENCY;
    put_term(text, below > 0 ? "-" : "", below + used, is_flight ? " in flight" : " used");
    if (!verdict->is_judged) return;
    uint64_t own = verdict->own > hits ? verdict->own - hits : 0;
    if (own > used) own = used;
    if (is_flight) {
        put_term(text, " (", own, " from here, ");
        put_term(text, "", used - own, " from other nodes)");
        return;
    }
    put_term(text, " (", own, " here in this window, ");
    put_term(text, "", used - own, " otherwise)");
    if (verdict->ahead > 0) put_term(text, " + ", verdict->ahead, " projected");
}

static void put_obstacle(struct text *text, const struct tly_verdict *verdict)
{
    switch (verdict->reason) {
    case TLY_REASON_WAITING:
        put_term(text, ", of what is left ", verdict->remaining, " for this node");
        break;
    case TLY_REASON_CAPPED:
        put_term(text, ", of which ", verdict->unheard, " are not heard of by every member");
        put_term(text, " and ", verdict->remaining, " more may be so");
        break;
    case TLY_REASON_RIGHTS:
        put_term(text, ", of which this node holds the rights to ", verdict->held, "");
        break;
    case TLY_REASON_NOBODYS:
        if (verdict->algorithm == TLY_COUNTER)
            put(text, ", of which nobody holds the rights yet");
        else
            put(text, ", of which nobody holds the rights: this window began before there were any");
        break;
    case TLY_REASON_JOINING: put(text, ", this node is still joining"); break;
    case TLY_REASON_SHARE: put(text, ", members cannot be reached: only the share of those that can"); break;
    case TLY_REASON_PARTITION: put(text, ", members cannot be reached: closed"); break;
    case TLY_REASON_NONE:
    case TLY_REASON_UNKNOWN:
    case TLY_REASON_LIMIT:
    case TLY_REASON_PROJECTED:
    case TLY_REASON_MEMORY:
    case TLY_REASON_KEYS:
    case TLY_REASON_UNMATCHED:
    case TLY_REASON_COUNT: break;
    }
}

/* Of a verdict that no numbers decided. */
static const char *only_words(enum tly_reason reason)
{
    if (reason == TLY_REASON_MEMORY) return "the key is new and memory_max is reached: not counted";
    if (reason == TLY_REASON_KEYS)
        return "the key is new and the limit's cardinality_max is reached: not counted";
    return reason == TLY_REASON_UNMATCHED ? "the limit is not for these fields: not counted" : NULL;
}

size_t tly_reason_put(const struct tly_verdict *verdict, uint64_t hits, char out[TLY_WHY_BYTES_MAX])
{
    struct text text = {out, 0};
    out[0] = '\0';
    if (verdict->code == TLY_CODE_UNKNOWN) {
        put(&text, "there is no limit of this name");
        return text.n;
    }
    const char *only = only_words(verdict->reason);
    if (only != NULL) {
        put(&text, only);
        return text.n;
    }
    if (verdict->is_peek) hits = 0;
    bool counted = verdict->code == TLY_CODE_OK && !verdict->shadow;
    /* Those that were admitted are among what is used by now. */
    put_used(&text, verdict, counted ? hits : 0);
    put_term(&text, " + ", hits, " hits");
    put_term(&text, " of ", verdict->limit, "");
    if (!counted) put_obstacle(&text, verdict);
    return text.n;
}
