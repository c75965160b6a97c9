#include "bench/support_engine.h"

#include "bench/support.h"

static const struct tly_time now = {TLY_BENCH_WALL_NS, 1};

struct tly_engine *tly_bench_engine(bool has_store)
{
    return tly_bench_engine_named("bench", has_store);
}

struct tly_engine *tly_bench_engine_named(const char *name, bool has_store)
{
    struct tly_engine_config config = {
        .mem = tly_bench_heap(),
        .name = tly_slice_text(name),
        .cluster = tly_slice_text("bench"),
        .has_store = has_store,
        .now = now,
    };
    uint64_t seed = 42;
    for (size_t i = 0; i < sizeof config.hash_key.secret; i++)
        config.hash_key.secret[i] = (uint8_t)tly_bench_next(&seed);
    struct tly_engine *engine;
    tly_bench_must(tly_engine_new(&config, &engine), "making an engine");
    return engine;
}

void tly_bench_engine_start(struct tly_engine *engine)
{
    tly_bench_must(tly_engine_start(engine, 1, now), "starting an engine");
}

/* The last batch handed out, or 0. A lease is as good as durable. */
static uint64_t step(struct tly_engine *engine, enum tly_event_kind kind, uint64_t number)
{
    struct tly_event event = {.kind = kind, .now = now, .number = number};
    struct tly_effects effects;
    uint64_t batch = 0;
    tly_bench_must(tly_engine_step(engine, &event, &effects), "stepping an engine");
    for (size_t i = 0; i < effects.count; i++)
        if (effects.list[i].kind == TLY_DO_APPEND || tly_effect_is_change(&effects.list[i]))
            batch = effects.list[i].number;
    return batch;
}

void tly_bench_tick(struct tly_engine *engine)
{
    uint64_t batch = step(engine, TLY_TICK, 0);
    while (batch != 0)
        batch = step(engine, TLY_STORED, batch);
}

struct tly_slice tly_bench_plain_key(const struct tly_bench_keys *keys, size_t i)
{
    struct tly_slice key = tly_bench_key(keys, i);
    return tly_slice_of(key.p + 3, key.n - 3);
}
