#include "crdt/version.h"
#include "service/shell/glob.h"
#include "service/shell/resp.h"

#include <stdio.h>

void tly_resp_run_time(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)arg, (void)count;
    /* Of which clients make deadlines. */
    uint64_t us = tly_app_cluster_ns(resp->app) / 1000;
    tly_resp_put_array(resp->out, 2);
    tly_resp_put_bulk_int(resp->out, (int64_t)(us / 1000000));
    tly_resp_put_bulk_int(resp->out, (int64_t)(us % 1000000));
}

void tly_resp_run_dbsize(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    (void)arg, (void)count;
    struct tly_node_view node;
    tly_engine_node(tly_app_engine(resp->app), false, &node);
    tly_resp_put_uint(resp->out, node.keys);
}

/* ---- COMMAND ---- */

/* Names are shown in lower case. */
static void put_lower(struct tly_buf *out, const char *name)
{
    char lower[TLY_RESP_COMMAND_BYTES_MAX];
    tly_resp_lower(name, lower);
    tly_resp_put_text(out, lower);
}

/* One set of words, each present when its bit is. */
static void put_words(struct tly_resp *resp, unsigned bits, const char *const *words, size_t count)
{
    tly_resp_put_set(resp->out, resp->proto, (size_t)__builtin_popcount(bits & ((1u << count) - 1)));
    for (size_t i = 0; i < count; i++)
        if ((bits >> i & 1) != 0) tly_resp_put_simple(resp->out, words[i]);
}

static void put_command(struct tly_resp *resp, const struct tly_resp_command *command)
{
    /* By bit: write, read, fast, admin, session. */
    static const char *const flags[] = {"write", "readonly", "fast", "admin", "loading"};
    static const char *const categories[] = {"@write", "@read", "@fast", "@admin", "@connection"};
    struct tly_buf *out = resp->out;
    tly_resp_put_array(out, 10);
    put_lower(out, command->name);
    tly_resp_put_int(out, command->arity);
    put_words(resp, command->flags, flags, 5);
    tly_resp_put_int(out, command->first_key);
    tly_resp_put_int(out, command->last_key);
    tly_resp_put_int(out, command->first_key != 0);
    put_words(resp, command->flags, categories, 5);
    tly_resp_put_array(out, 0); /* tips */
    tly_resp_put_array(out, 0); /* key specifications */
    tly_resp_put_array(out, 0); /* subcommands */
}

static void put_docs(struct tly_resp *resp, const struct tly_resp_command *command)
{
    put_lower(resp->out, command->name);
    tly_resp_put_map(resp->out, resp->proto, 3);
    tly_resp_put_text(resp->out, "summary");
    tly_resp_put_text(resp->out, command->summary);
    tly_resp_put_text(resp->out, "since");
    tly_resp_put_text(resp->out, TLY_VERSION);
    tly_resp_put_text(resp->out, "group");
    tly_resp_put_text(resp->out, command->group);
}

static void command_all(struct tly_resp *resp)
{
    size_t all;
    const struct tly_resp_command *commands = tly_resp_commands(&all);
    tly_resp_put_array(resp->out, all);
    for (size_t i = 0; i < all; i++)
        put_command(resp, &commands[i]);
}

static void command_info(struct tly_resp *resp, const struct tly_slice *names, size_t count)
{
    if (count == 0) {
        command_all(resp);
        return;
    }
    tly_resp_put_array(resp->out, count);
    for (size_t i = 0; i < count; i++) {
        const struct tly_resp_command *command = tly_resp_find(names[i]);
        if (command != NULL)
            put_command(resp, command);
        else
            tly_resp_put_null_array(resp->out, resp->proto);
    }
}

static void command_docs(struct tly_resp *resp, const struct tly_slice *names, size_t count)
{
    size_t all, known = 0;
    const struct tly_resp_command *commands = tly_resp_commands(&all);
    for (size_t i = 0; i < count; i++)
        known += tly_resp_find(names[i]) != NULL;
    tly_resp_put_map(resp->out, resp->proto, count > 0 ? known : all);
    for (size_t i = 0; i < count; i++) {
        const struct tly_resp_command *command = tly_resp_find(names[i]);
        if (command != NULL) put_docs(resp, command);
    }
    for (size_t i = 0; count == 0 && i < all; i++)
        put_docs(resp, &commands[i]);
}

static void command_list(struct tly_resp *resp)
{
    size_t all;
    const struct tly_resp_command *commands = tly_resp_commands(&all);
    tly_resp_put_array(resp->out, all);
    for (size_t i = 0; i < all; i++)
        put_lower(resp->out, commands[i].name);
}

void tly_resp_run_command(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    size_t all;
    (void)tly_resp_commands(&all);
    if (count == 1)
        command_all(resp);
    else if (tly_resp_is(arg[1], "COUNT"))
        tly_resp_put_uint(resp->out, all);
    else if (tly_resp_is(arg[1], "INFO"))
        command_info(resp, arg + 2, count - 2);
    else if (tly_resp_is(arg[1], "DOCS"))
        command_docs(resp, arg + 2, count - 2);
    else if (tly_resp_is(arg[1], "LIST"))
        command_list(resp);
    else
        tly_resp_put_help(resp, "COMMAND", arg[1], "COUNT | DOCS [name ...] | INFO [name ...] | LIST");
}

/* ---- CONFIG ---- */

/* What clients ask a redis for, and how this server is in its words. */
static const char *redis_setting(struct tly_resp *resp, const char *name, char *number, size_t size)
{
    static const char *const fixed[][2] = {
        {"databases", "1"},
        {"maxmemory-policy", "noeviction"},
        {"save", ""},
        {"timeout", "0"},
    };
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (strcmp(fixed[i][0], name) == 0) return fixed[i][1];
    if (strcmp(name, "maxmemory") == 0) {
        (void)snprintf(number, size, "%zu", tly_app_config(resp->app)->memory_max);
        return number;
    }
    struct tly_app_stats stats;
    tly_app_stats(resp->app, &stats);
    return stats.has_store ? "yes" : "no";
}

/* The i-th setting's name, ours first; NULL past the end. *is_ours tells where its value is. */
static const char *setting_name(size_t i, bool *is_ours)
{
    static const char *const redis[] = {"appendonly",       "databases", "maxmemory",
                                        "maxmemory-policy", "save",      "timeout"};
    size_t ours = 0;
    while (ours <= i && tly_config_key(ours) != NULL)
        ours++;
    *is_ours = i < ours;
    if (*is_ours) return tly_config_key(i);
    return i - ours < sizeof redis / sizeof *redis ? redis[i - ours] : NULL;
}

static bool matches_any(const char *name, const struct tly_slice *patterns, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (tly_glob_fold(patterns[i], tly_slice_text(name))) return true;
    return false;
}

static void config_get(struct tly_resp *resp, const struct tly_slice *patterns, size_t count)
{
    char value[TLY_CONFIG_TEXT_MAX];
    const char *name;
    bool is_ours;
    size_t matches = 0;
    for (size_t i = 0; (name = setting_name(i, &is_ours)) != NULL; i++)
        matches += matches_any(name, patterns, count);
    tly_resp_put_map(resp->out, resp->proto, matches);
    for (size_t i = 0; (name = setting_name(i, &is_ours)) != NULL; i++) {
        if (!matches_any(name, patterns, count)) continue;
        tly_resp_put_text(resp->out, name);
        if (!is_ours)
            tly_resp_put_text(resp->out, redis_setting(resp, name, value, sizeof value));
        else if (tly_config_get(tly_app_config(resp->app), name, value, sizeof value))
            tly_resp_put_text(resp->out, value);
        else
            tly_resp_put_text(resp->out, "");
    }
}

void tly_resp_run_config(struct tly_resp *resp, const struct tly_slice *arg, size_t count)
{
    if (tly_resp_is(arg[1], "GET") && count >= 3)
        config_get(resp, arg + 2, count - 2);
    else if (tly_resp_is(arg[1], "GET"))
        tly_resp_put_arity(resp, "config|get");
    else if (tly_resp_is(arg[1], "SET"))
        tly_resp_put_error(resp->out,
                           "ERR settings come from the file and the command line, not from clients");
    else
        tly_resp_put_help(resp, "CONFIG", arg[1], "GET pattern [pattern ...]");
}
