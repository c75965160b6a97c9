/* tallyctl: asks a node, and folds histories. See tallyctl(1). */
#include "tools/tallyctl.h"

#include "crdt/version.h"
#include "wire/feed.h"

#include <curl/curl.h>
#include <getopt.h>
#include <stdlib.h>

#define ANY_COUNT SIZE_MAX

static enum tly_ctl_exit help(const struct tly_ctl *ctl, const struct tly_ctl_args *args);
static enum tly_ctl_exit version(const struct tly_ctl *ctl, const struct tly_ctl_args *args);

static const struct tly_ctl_verb verbs[] = {
    {"status",
     "[--digest]",
     "the node: its name, keys, memory, clock",
     "--digest adds a number that nodes with equal contents share; it costs a walk over all keys.\n",
     0,
     0,
     tly_ctl_status,
     {{.name = "digest", .value = NULL}}},
    {"doctor",
     "",
     "what is wrong with the node, and what to do about it",
     "Looks twice, two seconds apart. A note is how it is set up; what is wrong should not be so.\n"
     "Exit status 1: something is wrong.\n",
     0,
     0,
     tly_ctl_doctor,
     {{0}}},
    {"peers", "", "the other nodes and how far behind they are", "", 0, 0, tly_ctl_peers, {{0}}},
    {"get",
     "KEY | -o FILE KEY|PREFIX* ...",
     "what a key reads as; or keys into a file for an editor",
     "  -o FILE          keys, and all that begin as a word that ends in *, as JSON for update\n"
     "Exit status 1: there is no such key.\n",
     1,
     ANY_COUNT,
     tly_ctl_get,
     {{.name = "out", .value = "a file", .letter = 'o'}}},
    {"update",
     "--from FILE [--dry-run]",
     "write back what was edited in a file of get -o",
     "Change \"value\" (or epoch and count, or deadline_ms) and leave \"read\" as it is. Keys that were not edited are left\n"
     "alone. When a key was changed elsewhere meanwhile its strategy decides, and it is said how. A key that is absent, then\n"
     "or now, is an error, and nothing is written.\n"
     "  --dry-run        only say what would be written\n",
     0,
     0,
     tly_ctl_update,
     {{.name = "from", .value = "a file"}, {.name = "dry-run"}}},
    {"incr",
     "KEY [DELTA]",
     "add to a counter (1, or DELTA, which may be negative)",
     "Prints the value that the counter then has on this node.\n",
     1,
     2,
     tly_ctl_incr,
     {{0}}},
    {"check",
     "LIMIT [FIELD=VALUE ...] | --key KEY --rate RATE",
     "ask a limit for hits",
     "A limit of tally.yaml by its name, with the fields of its key; or one made up here:\n"
     "  --key KEY        what is counted\n"
     "  --rate RATE      units / time: 100/10s, 5/m, 1000/500ms\n"
     "  --algorithm A    sliding_window (default), fixed_window, token_bucket\n"
     "  --burst N        of a token_bucket; default: the units of the rate\n"
     "  --hits N         how many; default 1; 0 looks without counting\n"
     "Exit status 0: admitted, 1: refused.\n",
     0,
     ANY_COUNT,
     tly_ctl_check,
     {{.name = "key", .value = "a key"},
      {.name = "rate", .value = "a rate such as 100/10s"},
      {.name = "algorithm", .value = "a name"},
      {.name = "burst", .value = "a number"},
      {.name = "hits", .value = "a number"}}},
    {"reserve",
     "LIMIT [FIELD=VALUE ...] | --key KEY --rate RATE",
     "charge hits now whose number is known later; commit or cancel settles them",
     "As check, with its options, and:\n"
     "  --ttl TIME       given back if it is not settled by then: 500ms, 30s, 5m; default 1m\n"
     "  --id ID          asking twice with one id charges once; default: one is made up\n"
     "Says the id. Exit status 0: charged, 1: refused.\n",
     0,
     ANY_COUNT,
     tly_ctl_reserve,
     {{.name = "key", .value = "a key"},
      {.name = "rate", .value = "a rate such as 100/10s"},
      {.name = "algorithm", .value = "a name"},
      {.name = "burst", .value = "a number"},
      {.name = "hits", .value = "a number"},
      {.name = "id", .value = "an id"},
      {.name = "ttl", .value = "a time such as 30s"}}},
    {"commit",
     "ID HITS",
     "settle a reservation: so many hits it was",
     "Fewer than were charged are given back; more are charged, save of a hard limit. Saying it twice does it once.\n",
     2,
     2,
     tly_ctl_commit,
     {{0}}},
    {"cancel",
     "ID",
     "settle a reservation: it was none",
     "What was charged is given back.\n",
     1,
     1,
     tly_ctl_cancel,
     {{0}}},
    {"acquire",
     "LIMIT [FIELD=VALUE ...]",
     "take a lease of a limit of concurrency; release gives it back",
     "  --hits N         how many; default 1\n"
     "  --ttl TIME       it ends by itself then: 500ms, 30s, 5m; default 1m\n"
     "  --id ID          asking twice with one id takes one; default: one is made up\n"
     "Says the id. Exit status 0: taken, 1: refused.\n",
     1,
     ANY_COUNT,
     tly_ctl_acquire,
     {{.name = "hits", .value = "a number"},
      {.name = "id", .value = "an id"},
      {.name = "ttl", .value = "a time such as 30s"}}},
    {"release", "ID", "give a lease back", "On the node that gave it out.\n", 1, 1, tly_ctl_release, {{0}}},
    {"refund",
     "LIMIT [FIELD=VALUE ...] | --key KEY --rate RATE",
     "give hits back that were charged in this window",
     "As check, with its options; no more than were charged. It lowers a limit with algorithm: counter.\n",
     0,
     ANY_COUNT,
     tly_ctl_refund,
     {{.name = "key", .value = "a key"},
      {.name = "rate", .value = "a rate such as 100/10s"},
      {.name = "algorithm", .value = "a name"},
      {.name = "burst", .value = "a number"},
      {.name = "hits", .value = "a number"}}},
    {"reset",
     "LIMIT [FIELD=VALUE ...] | --key KEY --rate RATE",
     "forget what a limit has counted of a key, on all nodes",
     "As check, with its options.\n",
     0,
     ANY_COUNT,
     tly_ctl_reset,
     {{.name = "key", .value = "a key"},
      {.name = "rate", .value = "a rate such as 100/10s"},
      {.name = "algorithm", .value = "a name"},
      {.name = "burst", .value = "a number"}}},
    {"limit",
     "list | show NAME | claim --force",
     "the named limits; by how much one can be passed now, and why",
     "The bound holds for each key and window: no more than the limit and it are admitted by all nodes together. Beside it stands\n"
     "what it follows from: members, how fast the others count, how old what is known of them is.\n"
     "claim: hard limits count in windows that begin after they were first used; of a month that may be long. If none ever\n"
     "counted before, also before disks were lost, this node may hold what nobody does, and gives of it to the others.\n"
     "Exit status 1: there is no limit of this name, or nothing to claim.\n",
     1,
     2,
     tly_ctl_limit,
     {{.name = "force"}}},
    {"why",
     "KEY",
     "why a key was refused the last time",
     "KEY is that of an ad-hoc limit, or rl:n:NAME:VALUE:... of a named one, as top shows it. Of the node that refused.\n"
     "Exit status 1: it has not refused this key lately.\n",
     1,
     1,
     tly_ctl_why,
     {{0}}},
    {"top",
     "[--once]",
     "the keys that are asked most, the fullest, and those refused most, once a second",
     "Of those that the node remembers: about 512 that are asked, estimated from a sample, and the last 256 that were refused.\n",
     0,
     0,
     tly_ctl_top,
     {{.name = "once"}}},
    {"replay",
     "ACCESS.LOG -f FILE [--status N]",
     "what limits would have refused of an access log",
     "ACCESS.LOG is in the common or combined format, or JSON, an object a line; - is standard input. Every limit of FILE is asked\n"
     "for every line, by itself, in the log's own time, as one node would; fields of its key are what the line says: ip, user,\n"
     "method, path, host, agent, referer, or a member of the JSON. Beside it stands what was refused then.\n"
     "  -f FILE          the limits to try, as tallyd reads them\n"
     "  --status N       what a refusal has in the log; default 429\n",
     1,
     1,
     tly_ctl_replay,
     {{.name = "file", .value = "a file", .letter = 'f'}, {.name = "status", .value = "a number"}}},
    {"export",
     "[PREFIX] [--store DIR] [-o FILE]",
     "all dots, or those of keys with a prefix, into a file",
     "Of the node, while it works on; keys under sys: only if PREFIX says so.\n"
     "  --store DIR      of the data directory of a node that is stopped; nothing in it is changed\n"
     "  -o FILE          instead of standard output\n",
     0,
     1,
     tly_ctl_export,
     {{.name = "store", .value = "a directory"}, {.name = "out", .value = "a file", .letter = 'o'}}},
    {"apply",
     "FILE [--store DIR]",
     "join the dots of an export, all or none",
     "A file that is cut off or damaged is refused, with the byte, and so is one with a dot that no node may take. A running\n"
     "node takes at most 1 MiB and 65536 dots at once; there is no limit with\n"
     "  --store DIR      the data directory of a node that is stopped\n"
     "Dots at or below a mark that are not there any more are let in: this is how a node is repaired.\n",
     1,
     1,
     tly_ctl_apply,
     {{.name = "store", .value = "a directory"}}},
    {"backup",
     "FILE [--store DIR]",
     "all dots into a file that has its name only when it is whole and on the disk",
     "Of the node, while it works on; what export writes, but for its owner alone.\n"
     "  --store DIR      of the data directory of a node that is stopped\n",
     1,
     1,
     tly_ctl_backup,
     {{.name = "store", .value = "a directory"}}},
    {"restore",
     "FILE DIR",
     "make a data directory out of a backup or an export",
     "DIR must be empty or absent. The node that is started there begins a new life, and takes from its peers what the\n"
     "file lacks.\n",
     2,
     2,
     tly_ctl_restore,
     {{0}}},
    {"store",
     "check|dump|repair|compact DIR",
     "look after the data directory of a node that is stopped",
     "  check            each file: whole, torn or damaged. Exit status 1: something is damaged\n"
     "  dump             every dot, one a line: key, strategy, ts, origin, op, words\n"
     "  repair           keep what can be read, say what was lost; damaged files stay as damaged-NAME. The node then begins a\n"
     "                   new life and asks its peers for everything\n"
     "  compact          a snapshot in place of the log\n",
     2,
     2,
     tly_ctl_store,
     {{0}}},
    {"diff",
     "A B [-o FILE] [--text]",
     "the least dots that make export A hold what B holds too",
     "  -o FILE          them as an export, for apply\n"
     "  --text           list them as well\n"
     "Exit status 0: nothing is missing in A; 1: something is; 2: trouble.\n",
     2,
     2,
     tly_ctl_diff,
     {{.name = "out", .value = "a file", .letter = 'o'}, {.name = "text"}}},
    {"explain",
     "KEY [-f FILE ... | --store DIR]",
     "the dots of a key: which stand, and why others fell",
     "Of the node: what stands, what it reads as now, and of a token bucket its state there.\n"
     "  -f FILE ...      of exports, all together\n"
     "  --store DIR      of the log of a node that is stopped: every dot that is still in it\n"
     "Exit status 1: there is no dot of this key.\n",
     1,
     ANY_COUNT,
     tly_ctl_explain,
     {{.name = "store", .value = "a directory"}, {.name = "from", .value = "a file", .letter = 'f'}}},
    {"watch",
     "[PREFIX]",
     "changes of keys as they happen",
     "One line for each key whose value has changed: key, value, and where it was changed. Only keys that begin\n"
     "with PREFIX; without it, all but those of limits.\n"
     "  --count N        end after N changes; default: when the server ends\n",
     0,
     1,
     tly_ctl_watch,
     {{.name = "count", .value = "a number"}}},
    {"follow",
     "DIR [PREFIX ...]",
     "keep a directory equal to the node, or to keys with a prefix",
     "DIR is a data directory of its own: export, explain and store read it, and a node can be started from it. What the node\n"
     "says is on the disk before the follower moves on, so it may be killed at any time. It goes on until it is ended; a node\n"
     "that is gone is asked again. Each time something came there is a line.\n"
     "  --interval MS    between two questions; default 1000\n"
     "  --once           until all is there, then end\n"
     "  --snapshots      take no changes, only snapshots\n"
     "  --digest         also show a number that equal contents share (status --digest)\n"
     "Exit status with --once 0: DIR holds what the node holds; 1: something cannot be applied or stored.\n",
     1,
     1 + TLY_FEED_PREFIXES_MAX,
     tly_ctl_follow,
     {{.name = "interval", .value = "a number of ms"},
      {.name = "once"},
      {.name = "snapshots"},
      {.name = "digest"}}},
    {"forget",
     "NAME",
     "a member is gone for good: nothing waits for it any more",
     "If it lives it takes a new life and a snapshot; what it counted is not lost.\n"
     "Exit status 1: there is no such member.\n",
     1,
     1,
     tly_ctl_forget,
     {{0}}},
    {"prefix",
     "list | register PREFIX STRATEGY ... | migrate PREFIX STRATEGY [--approve A] | drop PREFIX [--approve A]",
     "which prefixes have which strategy, and changes of that",
     "  list             all of them\n"
     "  register         give prefixes their strategy: lww, epoch_max or epoch_sum; all of them, or none\n"
     "  migrate          the prefix and what its keys say to another strategy; without --approve it is only said what would be lost\n"
     "  drop             the prefix and all keys under it, on this node; without --approve it is only said what would be lost\n"
     "  --approve A      what was said then; it serves once, and on each node that holds the same\n"
     "Other nodes follow by themselves if they have nothing under the prefix; until then they are not spoken with.\n"
     "Exit status 1: it was not done.\n",
     1,
     ANY_COUNT,
     tly_ctl_prefix,
     {{.name = "approve", .value = "16 digits"}}},
    {"fold",
     "FILE",
     "run histories through the merge, without a server",
     "Reads JSON lines from FILE, or from standard input if it is -, each one key's history; prints for each\n"
     "the dots that are left and what they read as. Exit status 1: a line is wrong; the earlier ones are out.\n",
     1,
     1,
     tly_ctl_fold,
     {{0}}},
    {"help", "[VERB]", "this, or more about a verb", "", 0, 1, help, {{0}}},
    {"version", "", "the version", "", 0, 0, version, {{0}}},
};

#define VERB_COUNT (sizeof verbs / sizeof verbs[0])

static const struct tly_ctl_verb *verb_named(const char *name)
{
    for (size_t i = 0; i < VERB_COUNT; i++)
        if (strcmp(verbs[i].name, name) == 0) return &verbs[i];
    return NULL;
}

/* ---- what was perhaps meant ---- */

#define WORD_MAX 16

static size_t least(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Levenshtein: letters to insert, remove or replace to make a of b. b has at most WORD_MAX. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(b), row[WORD_MAX + 1];
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0]++;
        for (size_t j = 0; j < n; j++) {
            size_t next = least(row[j + 1] + 1, row[j] + 1, diagonal + (a[i] != b[j]));
            diagonal = row[j + 1];
            row[j + 1] = next;
        }
    }
    return row[n];
}

/* The verb that was most likely meant, or NULL: it begins alike, or at most two letters differ and fewer than it has. */
static const char *nearest_verb(const char *word)
{
    const char *best = NULL;
    size_t best_distance = 3;
    for (size_t i = 0; i < VERB_COUNT && strlen(word) <= WORD_MAX; i++) {
        size_t d = distance(word, verbs[i].name);
        if (word[0] != '\0' && strncmp(word, verbs[i].name, strlen(word)) == 0) d = 0;
        if (d >= best_distance || d >= strlen(verbs[i].name)) continue;
        best = verbs[i].name;
        best_distance = d;
    }
    return best;
}

static enum tly_ctl_exit unknown_verb(const char *word)
{
    const char *nearest = nearest_verb(word);
    if (nearest != NULL)
        tly_ctl_complain("no such verb: %.40s; did you mean %s?", word, nearest);
    else
        tly_ctl_complain("no such verb: %.40s; see: tallyctl help", word);
    return TLY_CTL_USAGE;
}

/* ---- help ---- */

static void print_usage(FILE *out)
{
    fputs("usage: tallyctl [-s SERVER] [--json] VERB ...\n\n", out);
    for (size_t i = 0; i < VERB_COUNT; i++)
        fprintf(out, "  %-9s %s\n", verbs[i].name, verbs[i].summary);
    fputs("\n  -s SERVER  http://HOST:PORT, https://HOST:PORT or unix:PATH; default: $TALLY_SERVER,\n"
          "             or " TLY_CTL_SERVER "\n"
          "  --json     what the server answered, for programs\n\n"
          "exit status: 0 done or admitted; 1 refused, not found or wrong; 2 usage; 3 no server\n",
          out);
}

static enum tly_ctl_exit tell_about(const struct tly_ctl_verb *verb)
{
    printf("tallyctl %s %s\n    %s\n", verb->name, verb->synopsis, verb->summary);
    if (verb->text[0] != '\0') printf("\n%s", verb->text);
    return TLY_CTL_DONE;
}

static enum tly_ctl_exit help(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    (void)ctl;
    if (args->count == 0) {
        print_usage(stdout);
        return TLY_CTL_DONE;
    }
    const struct tly_ctl_verb *verb = verb_named(args->words[0]);
    return verb != NULL ? tell_about(verb) : unknown_verb(args->words[0]);
}

static enum tly_ctl_exit version(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    (void)args;
    puts(ctl->json ? "{\"version\":\"" TLY_VERSION "\"}" : "tallyctl " TLY_VERSION);
    return TLY_CTL_DONE;
}

/* ---- the command line ---- */

static const char *default_server(void)
{
    const char *server = getenv("TALLY_SERVER");
    return server != NULL && server[0] != '\0' ? server : TLY_CTL_SERVER;
}

/* The verb that is asked for, with argv behind it; NULL: it was said what is wrong, or there is nothing more to do. */
static const char *read_options(struct tly_ctl *ctl, int argc, char ***argv)
{
    static const struct option options[] = {
        {"server", required_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    const char *verb = NULL;
    for (int c; (c = getopt_long(argc, *argv, "+s:jhV", options, NULL)) != -1;) {
        if (c == 's') ctl->server = optarg;
        if (c == 'j') ctl->json = true;
        if (c == 'h') verb = "help";
        if (c == 'V') verb = "version";
        if (c == '?') return NULL;
    }
    *argv += optind;
    if (verb != NULL) return verb;
    if (**argv != NULL) return *(*argv)++;
    print_usage(stderr);
    return NULL;
}

static enum tly_ctl_exit run(int argc, char **argv)
{
    struct tly_ctl ctl = {.server = default_server()};
    struct tly_ctl_args args;
    const char *name = read_options(&ctl, argc, &argv);
    if (name == NULL) return TLY_CTL_USAGE;
    const struct tly_ctl_verb *verb = verb_named(name);
    if (verb == NULL) return unknown_verb(name);
    if (!tly_ctl_parse(&ctl, verb, argv, &args)) return TLY_CTL_USAGE;
    return ctl.help ? tell_about(verb) : verb->run(&ctl, &args);
}

int main(int argc, char **argv)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    enum tly_ctl_exit status = run(argc, argv);
    curl_global_cleanup();
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("tallyctl: standard output");
        if (status == TLY_CTL_DONE) status = TLY_CTL_NO;
    }
    return (int)status;
}
