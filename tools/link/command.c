#include "tools/link/command.h"

#include <string.h>

#define WORDS_MAX 4
#define WORD_BYTES 64

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit thousands[] = {{"", 1}, {"k", 1000}, {"M", 1000000}, {NULL, 0}};
static const struct unit times[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {NULL, 0}};

/* Nothing here needs more: 10^15 bits a second, bytes, or 11 days in ns. */
#define NUMBER_MAX UINT64_C(1000000000000000)

/* Digits, perhaps with up to nine behind a point, and a unit. */
static bool number(const char *text, size_t n, const struct unit *units, uint64_t *out)
{
    uint64_t whole = 0, part = 0, part_of = 1;
    size_t i = 0;
    for (; i < n && text[i] >= '0' && text[i] <= '9' && whole <= NUMBER_MAX; i++)
        whole = whole * 10 + (uint64_t)(text[i] - '0');
    if (i == 0) return false;
    if (i < n && text[i] == '.')
        for (i++; i < n && text[i] >= '0' && text[i] <= '9' && part_of < 1000000000; i++, part_of *= 10)
            part = part * 10 + (uint64_t)(text[i] - '0');
    for (; units->name != NULL; units++)
        if (strlen(units->name) == n - i && strncmp(units->name, text + i, n - i) == 0) break;
    if (units->name == NULL || whole > NUMBER_MAX / units->factor) return false;
    *out = whole * units->factor + part * units->factor / part_of;
    return true;
}

bool tly_link_time_parse(const char *text, uint64_t *ns)
{
    return number(text, strlen(text), times, ns);
}

const char *tly_link_value_parse(enum tly_link_what what, const char *text, uint64_t value[TLY_LINK_WAYS])
{
    static const char *const wanted[TLY_LINK_WHATS] = {
        [TLY_LINK_RATE] =
            "bits per second such as 256k or 1.5M (0: no limit), or two of them, UP/DOWN, were expected",
        [TLY_LINK_DELAY] = "a time such as 100ms, or two of them, UP/DOWN, was expected",
        [TLY_LINK_JITTER] = "a time such as 20ms, or two of them, UP/DOWN, was expected",
        [TLY_LINK_QUEUE] = "bytes such as 16k, at least 1, or two of them, UP/DOWN, were expected",
    };
    const struct unit *units = what == TLY_LINK_DELAY || what == TLY_LINK_JITTER ? times : thousands;
    const char *slash = strchr(text, '/');
    size_t n = slash != NULL ? (size_t)(slash - text) : strlen(text);
    uint64_t read[TLY_LINK_WAYS] = {0};
    bool good = number(text, n, units, &read[TLY_LINK_UP]);
    read[TLY_LINK_DOWN] = read[TLY_LINK_UP];
    if (good && slash != NULL) good = number(slash + 1, strlen(slash + 1), units, &read[TLY_LINK_DOWN]);
    if (good && what == TLY_LINK_QUEUE) good = read[TLY_LINK_UP] > 0 && read[TLY_LINK_DOWN] > 0;
    if (!good) return wanted[what];
    memcpy(value, read, sizeof read);
    return NULL;
}

/* ---- commands ---- */

struct words {
    size_t count;
    char word[WORDS_MAX][WORD_BYTES];
};

static bool split(const char *text, struct words *words)
{
    static const char blanks[] = " \t\r\n";
    words->count = 0;
    for (text += strspn(text, blanks); *text != '\0'; text += strspn(text, blanks)) {
        size_t n = strcspn(text, blanks);
        if (words->count == WORDS_MAX || n >= WORD_BYTES) return false;
        memcpy(words->word[words->count], text, n);
        words->word[words->count++][n] = '\0';
        text += n;
    }
    return true;
}

/* The place of the word in a list that ends with NULL, or -1. */
static int place(const char *word, const char *const *list)
{
    for (int i = 0; list[i] != NULL; i++)
        if (strcmp(word, list[i]) == 0) return i;
    return -1;
}

static const char *const ends[] = {"rst", "fin", "blackhole", NULL};
static const char *const ways[] = {"up", "down", NULL};
static const char *const whats[] = {"rate", "delay", "jitter", "queue", NULL};

static const char *parse_set(const struct words *words, struct tly_link_command *command)
{
    int what = words->count == 3 ? place(words->word[1], whats) : -1;
    if (what < 0) return "set rate|delay|jitter|queue VALUE was expected";
    command->what = (enum tly_link_what)what;
    return tly_link_value_parse(command->what, words->word[2], command->value);
}

static const char *parse_cut(const struct words *words, struct tly_link_command *command)
{
    int end = words->count == 2 ? place(words->word[1], ends) : -1;
    if (end < 0) return "cut rst|fin|blackhole was expected";
    command->end = (enum tly_link_end)end;
    return NULL;
}

static const char *parse_after(const struct words *words, struct tly_link_command *command)
{
    static const char wanted[] = "after up|down BYTES rst|fin|blackhole was expected";
    if (words->count != 4) return wanted;
    int way = place(words->word[1], ways), end = place(words->word[3], ends);
    const char *bytes = words->word[2];
    if (way < 0 || end < 0 || !number(bytes, strlen(bytes), thousands, &command->value[0])) return wanted;
    command->way[way] = true;
    command->end = (enum tly_link_end)end;
    return NULL;
}

static const char *parse_ways(const struct words *words, struct tly_link_command *command)
{
    int way = words->count == 2 ? place(words->word[1], ways) : -1;
    if (words->count > 2 || (words->count == 2 && way < 0))
        return "up, down or nothing was expected behind it";
    command->way[TLY_LINK_UP] = way != TLY_LINK_DOWN;
    command->way[TLY_LINK_DOWN] = way != TLY_LINK_UP;
    return NULL;
}

static const char *parse_alone(const struct words *words, struct tly_link_command *command)
{
    (void)command;
    return words->count == 1 ? NULL : "nothing was expected behind it";
}

const char *tly_link_command_parse(const char *text, struct tly_link_command *command)
{
    static const struct {
        const char *name;
        const char *(*parse)(const struct words *words, struct tly_link_command *command);
    } verbs[] = {
        [TLY_LINK_SET] = {"set", parse_set},          [TLY_LINK_CUT] = {"cut", parse_cut},
        [TLY_LINK_AFTER] = {"after", parse_after},    [TLY_LINK_CLOG] = {"clog", parse_ways},
        [TLY_LINK_RELEASE] = {"release", parse_ways}, [TLY_LINK_CLOSE] = {"close", parse_alone},
        [TLY_LINK_OPEN] = {"open", parse_alone},      [TLY_LINK_STATS] = {"stats", parse_alone},
        [TLY_LINK_QUIT] = {"quit", parse_alone},
    };
    struct words words;
    *command = (struct tly_link_command){0};
    if (!split(text, &words)) return "at most four words were expected";
    for (size_t i = 0; words.count > 0 && i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(words.word[0], verbs[i].name) != 0) continue;
        command->verb = (enum tly_link_verb)i;
        // cppcheck-suppress returnDanglingLifetime ; what comes back is a constant
        return verbs[i].parse(&words, command);
    }
    return "set, cut, after, clog, release, close, open, stats or quit was expected";
}
