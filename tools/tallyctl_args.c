#include "tools/tallyctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#define LINE_BYTES 1024

/* What somebody else wrote must not steer a terminal. */
static void put_line(char *line)
{
    for (char *c = line; *c != '\0'; c++)
        if (tly_ctl_is_control(*c)) *c = '?';
    fflush(stdout);
    fprintf(stderr, "%s\n", line);
}

void tly_ctl_complain(const char *format, ...)
{
    char line[LINE_BYTES] = "tallyctl: ";
    size_t n = strlen(line);
    va_list list;
    va_start(list, format);
    vsnprintf(line + n, sizeof line - n, format, list);
    va_end(list);
    put_line(line);
}

enum tly_ctl_exit tly_ctl_misused(const char *verb, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list list;
    snprintf(line, sizeof line, "tallyctl %s: ", verb);
    size_t n = strlen(line);
    va_start(list, format);
    vsnprintf(line + n, sizeof line - n, format, list);
    va_end(list);
    n = strlen(line);
    snprintf(line + n, sizeof line - n, "; see: tallyctl help %s", verb);
    put_line(line);
    return TLY_CTL_USAGE;
}

static bool is_named(const struct tly_ctl_option *option, const char *word)
{
    if (word[1] != '-') return option->letter != '\0' && option->letter == word[1] && word[2] == '\0';
    size_t n = strcspn(word + 2, "=");
    return strlen(option->name) == n && strncmp(option->name, word + 2, n) == 0;
}

/* The place in the verb's list of the option that `word` ("--name", "--name=value", "-n") names, or the list's end. */
static size_t option_place(const struct tly_ctl_verb *verb, const char *word)
{
    size_t i = 0;
    while (i < TLY_CTL_OPTIONS_MAX && verb->options[i].name != NULL && !is_named(&verb->options[i], word))
        i++;
    return i;
}

static bool has_option(const struct tly_ctl_verb *verb, size_t i)
{
    return i < TLY_CTL_OPTIONS_MAX && verb->options[i].name != NULL;
}

/* Takes the option at *argv, and the word behind it if that is its value; *argv is then the last one taken. */
static bool take_option(const struct tly_ctl_verb *verb, char ***argv, struct tly_ctl_args *args)
{
    const char *word = **argv, *equals = word[1] == '-' ? strchr(word, '=') : NULL;
    size_t i = option_place(verb, word);
    if (!has_option(verb, i)) {
        tly_ctl_misused(verb->name, "no such option: %.40s", word);
        return false;
    }
    if (args->option[i] != NULL) {
        tly_ctl_misused(verb->name, "--%s is given twice", verb->options[i].name);
        return false;
    }
    const char *value = "";
    if (verb->options[i].value != NULL)
        value = equals != NULL ? equals + 1 : *++*argv;
    else if (equals != NULL)
        value = NULL;
    if (value == NULL) {
        const char *wanted = verb->options[i].value != NULL ? verb->options[i].value : "no value";
        tly_ctl_misused(verb->name, "--%s takes %s", verb->options[i].name, wanted);
        return false;
    }
    args->option[i] = value;
    return true;
}

/* Options of every verb: 1: it was one, 0: it was none, -1: it was said what is wrong. */
static int take_common(struct tly_ctl *ctl, const struct tly_ctl_verb *verb, char ***argv)
{
    const char *word = **argv;
    if (strcmp(word, "--json") == 0 || strcmp(word, "-j") == 0) {
        ctl->json = true;
        return 1;
    }
    if (strcmp(word, "--help") == 0) {
        ctl->help = true;
        return 1;
    }
    if (strcmp(word, "-s") != 0 && strcmp(word, "--server") != 0) return 0;
    const char *server = *++*argv;
    if (server == NULL) {
        tly_ctl_misused(verb->name, "-s takes a server");
        return -1;
    }
    ctl->server = server;
    return 1;
}

static bool count_fits(const struct tly_ctl_verb *verb, size_t count)
{
    if (count >= verb->words_min && count <= verb->words_max) return true;
    tly_ctl_misused(verb->name,
                    count < verb->words_min ? "something is missing: %s %s" : "too many words: %s %s",
                    verb->name, verb->synopsis);
    return false;
}

bool tly_ctl_parse(struct tly_ctl *ctl, const struct tly_ctl_verb *verb, char **argv,
                   struct tly_ctl_args *args)
{
    *args = (struct tly_ctl_args){.words = argv};
    bool options = true;
    for (; *argv != NULL; argv++) {
        const char *word = *argv;
        bool is_letter = word[0] == '-' && word[1] != '\0' && has_option(verb, option_place(verb, word));
        int common = options ? take_common(ctl, verb, &argv) : 0;
        if (common < 0) return false;
        if (common > 0) continue;
        if (options && strcmp(word, "--") == 0)
            options = false;
        else if (!options || (strncmp(word, "--", 2) != 0 && !is_letter))
            args->words[args->count++] = *argv;
        else if (!take_option(verb, &argv, args))
            return false;
    }
    return ctl->help || count_fits(verb, args->count);
}

bool tly_ctl_number(const char *text, int64_t least, int64_t most, int64_t *out)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    *out = value;
    return errno == 0 && end != text && *end == '\0' && strchr(" \t\n\v\f\r", *text) == NULL &&
           value >= least && value <= most;
}
