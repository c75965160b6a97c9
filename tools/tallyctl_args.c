#include "tools/tallyctl.h"

#include <stdarg.h>

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

/* The place in the verb's list of the option that `word` ("--name" or "--name=value") names, or the list's end. */
static size_t option_place(const struct tly_ctl_verb *verb, const char *word)
{
    size_t n = strcspn(word + 2, "="), i = 0;
    for (; i < TLY_CTL_OPTIONS_MAX && verb->options[i].name != NULL; i++)
        if (strlen(verb->options[i].name) == n && strncmp(verb->options[i].name, word + 2, n) == 0) break;
    return i;
}

/* Takes the option at *argv, and the word behind it if that is its value; *argv is then the last one taken. */
static bool take_option(const struct tly_ctl_verb *verb, char ***argv, struct tly_ctl_args *args)
{
    const char *word = **argv, *equals = strchr(word, '=');
    size_t i = option_place(verb, word);
    if (i == TLY_CTL_OPTIONS_MAX || verb->options[i].name == NULL) {
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
        bool is_option = options && strncmp(*argv, "--", 2) == 0;
        if (!is_option) {
            args->words[args->count++] = *argv;
        } else if (strcmp(*argv, "--") == 0) {
            options = false;
        } else if (strcmp(*argv, "--json") == 0) {
            ctl->json = true;
        } else if (!take_option(verb, &argv, args)) {
            return false;
        }
    }
    return count_fits(verb, args->count);
}
