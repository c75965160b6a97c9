/*
 * Histories with known outcomes, one a line of a file: TALLY_VECTORS, or tests/crdt/vectors.jsonl.
 *
 *     {"id":…, "strategy":…, "ops":[…], "dots":[…], "read":…}
 *
 * An op is {"op":"put"|"remove","ts":…,"origin":…} and of a put the payload: "value" and perhaps "deadline"; "epoch" and
 * "count"; or "window", "epoch", "count" and perhaps "aux".  `dots` are what must be left, in order; without it only the
 * read is compared.  `read` is null for absent, the value of an lww key, [epoch, count] of epoch_max, [epoch, count,
 * previous] of epoch_sum; "at", {"now":…, "window":…, "epoch":…}, says for when.  Order, repetition and batches of the
 * ops make no difference.
 */
#include "crdt/epoch_sum.h"
#include "tests/crdt/world.h"
#include "tests/support/cmocka.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPS_MAX 128
#define ORDERS 8

struct vector {
    const char *id;
    const struct tly_strategy *strategy;
    struct tly_slice key;
    struct tly_dot ops[OPS_MAX], dots[OPS_MAX];
    size_t op_count, dot_count;
    bool has_dots;
    struct tly_moment at;
    struct json_object *read;
};

static struct tly_mem mem;
static struct tly_registry *registry;
static struct test_rng rng;

/* ---- reading a line ---- */

static uint64_t number(struct json_object *object, const char *name)
{
    struct json_object *field = NULL;
    if (!json_object_object_get_ex(object, name, &field)) return 0;
    claim(json_object_is_type(field, json_type_int));
    /* Each of the two holds at the end of its own range what only the other can hold. */
    int64_t value = json_object_get_int64(field);
    return value < 0 ? (uint64_t)value : json_object_get_uint64(field);
}

static struct tly_dot dot_of(const struct tly_strategy *strategy, struct json_object *op)
{
    struct json_object *word = NULL, *value = NULL;
    struct tly_dot dot = {.version = {number(op, "ts"), number(op, "origin")}};
    claim(json_object_object_get_ex(op, "op", &word));
    bool remove = strcmp(json_object_get_string(word), "remove") == 0;
    claim(remove || strcmp(json_object_get_string(word), "put") == 0);
    dot.op = remove ? TLY_REMOVE : TLY_PUT;
    if (remove) return dot;
    if (strategy->id == TLY_LWW) {
        dot.num[0] = number(op, "deadline");
        claim(json_object_object_get_ex(op, "value", &value));
        dot.bytes = tly_slice_of(json_object_get_string(value), (size_t)json_object_get_string_len(value));
        return dot;
    }
    size_t word_at = 0;
    if (strategy->id == TLY_EPOCH_SUM) dot.num[word_at++] = number(op, "window");
    dot.num[word_at++] = number(op, "epoch");
    dot.num[word_at++] = number(op, "count");
    if (strategy->id == TLY_EPOCH_SUM) dot.num[word_at++] = number(op, "aux");
    return dot;
}

static size_t dots_of(const struct tly_strategy *strategy, struct json_object *list, struct tly_dot *dots)
{
    size_t count = json_object_array_length(list);
    claim(count <= OPS_MAX);
    for (size_t i = 0; i < count; i++) {
        dots[i] = dot_of(strategy, json_object_array_get_idx(list, i));
        claim(tly_dot_check(strategy, &dots[i]) == TLY_OK);
    }
    return count;
}

static void vector_of(struct json_object *line, struct vector *vector)
{
    struct json_object *field = NULL;
    memset(vector, 0, sizeof *vector);
    claim(json_object_object_get_ex(line, "id", &field));
    vector->id = json_object_get_string(field);
    claim(json_object_object_get_ex(line, "strategy", &field));
    vector->strategy = tly_strategy_by_name(tly_slice_text(json_object_get_string(field)));
    claim(vector->strategy != NULL);
    for (size_t i = 0; i < SAMPLE_STRATEGIES; i++)
        if (world_strategy(i) == vector->strategy) vector->key = world_key(i);
    claim(json_object_object_get_ex(line, "ops", &field));
    vector->op_count = dots_of(vector->strategy, field, vector->ops);
    vector->has_dots = json_object_object_get_ex(line, "dots", &field);
    if (vector->has_dots) vector->dot_count = dots_of(vector->strategy, field, vector->dots);
    claim(json_object_object_get_ex(line, "read", &vector->read));
    if (!json_object_object_get_ex(line, "at", &field)) return;
    vector->at = (struct tly_moment){number(field, "now"), number(field, "window"), number(field, "epoch")};
}

/* ---- comparing ---- */

static bool reads_as(const struct vector *vector, const struct tly_value *value)
{
    if (vector->read == NULL || !value->present) return vector->read == NULL && !value->present;
    if (vector->strategy->id == TLY_LWW) {
        size_t n = (size_t)json_object_get_string_len(vector->read);
        return tly_slice_equal(value->bytes, tly_slice_of(json_object_get_string(vector->read), n));
    }
    uint64_t words[] = {value->epoch, (uint64_t)value->count, (uint64_t)value->previous};
    size_t count = vector->strategy->id == TLY_EPOCH_MAX ? 2 : 3;
    claim(json_object_array_length(vector->read) == count);
    for (size_t i = 0; i < count; i++) {
        struct json_object *item = json_object_array_get_idx(vector->read, i);
        uint64_t expected = i > 0 ? (uint64_t)json_object_get_int64(item) : json_object_get_uint64(item);
        if (words[i] != expected) return false;
    }
    return true;
}

static void claim_outcome(const struct vector *vector, struct tly_ormap *map, const char *how)
{
    tly_ormap_check(map);
    size_t count;
    const struct tly_dot *dots = world_dots(map, vector->key, &count);
    struct tly_value value = world_read(map, vector->key, vector->at);
    bool same = reads_as(vector, &value);
    if (vector->has_dots) same = same && dots_equal(vector->dots, vector->dot_count, dots, count);
    if (same) return;
    print_error("%s, %s: reads %s %llu %lld\n", vector->id, how, value.present ? "as" : "absent",
                (unsigned long long)value.epoch, (long long)value.count);
    dots_print("the map's dots:", dots, count);
    dots_print("expected:", vector->dots, vector->dot_count);
    claim(same);
}

/* In any order, some of it twice. */
static void run_shuffled(const struct vector *vector)
{
    struct tly_ormap *map = world_map(&mem, registry, 0);
    struct tly_dot ops[OPS_MAX];
    memcpy(ops, vector->ops, sizeof ops);
    test_rng_shuffle(&rng, ops, vector->op_count, sizeof ops[0]);
    for (size_t i = 0; i < vector->op_count; i++) {
        (void)world_apply(map, vector->key, &ops[i]);
        if (test_rng_chance(&rng, 30)) (void)world_apply(map, vector->key, &ops[test_rng_below(&rng, i + 1)]);
    }
    claim_outcome(vector, map, "shuffled");
    tly_ormap_free(map);
}

/* Some here and some there, then each to the other; then a third that hears of one only. */
static void run_exchanged(const struct vector *vector)
{
    struct tly_ormap *map[3];
    for (size_t i = 0; i < 3; i++)
        map[i] = world_map(&mem, registry, 0);
    for (size_t i = 0; i < vector->op_count; i++)
        (void)world_apply(map[test_rng_below(&rng, 2)], vector->key, &vector->ops[i]);
    (void)world_round(map[0], map[1], &rng);
    (void)world_round(map[1], map[0], &rng);
    (void)world_round(map[0], map[2], &rng);
    for (size_t i = 0; i < 3; i++) {
        claim_outcome(vector, map[i], "exchanged");
        tly_ormap_free(map[i]);
    }
}

static void run_folded(const struct vector *vector)
{
    struct tly_dot dots[OPS_MAX];
    memcpy(dots, vector->ops, sizeof dots);
    size_t count = tly_join(vector->strategy, dots, vector->op_count);
    claim(!vector->has_dots || dots_equal(vector->dots, vector->dot_count, dots, count));
    struct tly_value value;
    vector->strategy->read(dots, count, &vector->at, &value);
    claim(reads_as(vector, &value));
}

static void run_line(const char *text, size_t *with_dots)
{
    struct json_object *line = json_tokener_parse(text);
    struct vector vector;
    claim(line != NULL);
    vector_of(line, &vector);
    run_folded(&vector);
    for (size_t i = 0; i < ORDERS; i++) {
        run_shuffled(&vector);
        run_exchanged(&vector);
    }
    *with_dots += vector.has_dots;
    json_object_put(line);
}

static void every_known_history_ends_as_known(void **state)
{
    const char *given = getenv("TALLY_VECTORS"), *path = given != NULL ? given : "tests/crdt/vectors.jsonl";
    FILE *file = fopen(path, "r");
    if (file == NULL) fail_msg("cannot open %s", path);
    mem = test_mem();
    registry = world_registry(&mem);
    rng = test_rng_of(test_seed_first());
    char *text = NULL;
    size_t size = 0, lines = 0, with_dots = 0;
    while (getline(&text, &size, file) > 0) {
        run_line(text, &with_dots);
        lines++;
    }
    free(text);
    (void)fclose(file);
    tly_registry_free(registry);
    print_message("%s: %zu histories, %zu with dots, %d orders each\n", path, lines, with_dots, 2 * ORDERS);
    claim(lines > 0 && with_dots > 0);
    claim(test_mem_live() == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_known_history_ends_as_known)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
