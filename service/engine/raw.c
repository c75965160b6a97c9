#include "service/engine/raw.h"

static uint64_t word_of(const uint8_t *bytes)
{
    uint64_t word = 0;
    for (size_t i = 0; i < 8; i++)
        word = word << 8 | bytes[i];
    return word;
}

static void put_word(uint8_t *to, uint64_t word)
{
    for (size_t i = 8; i-- > 0; word >>= 8)
        to[i] = (uint8_t)word;
}

enum tly_result tly_raw_get(const struct tly_strategy *strategy, struct tly_slice raw, struct tly_dot *put)
{
    *put = (struct tly_dot){.op = TLY_PUT};
    if (strategy->id == TLY_LWW) {
        if (raw.n > TLY_LWW_BYTES_MAX) return TLY_VALUE_TOO_LARGE;
        put->bytes = raw;
        return TLY_OK;
    }
    if (strategy->id != TLY_EPOCH_MAX) return TLY_WRONG_STRATEGY;
    if (raw.n != TLY_RAW_EPOCH_MAX_BYTES) return TLY_BAD_RAW;
    put->num[0] = word_of(raw.p);
    put->num[1] = word_of(raw.p + 8);
    return TLY_OK;
}

bool tly_raw_of(const struct tly_strategy *strategy, const struct tly_value *value,
                uint8_t room[TLY_RAW_EPOCH_MAX_BYTES], struct tly_slice *raw)
{
    *raw = value->bytes;
    if (strategy->id == TLY_LWW) return true;
    if (strategy->id != TLY_EPOCH_MAX) return false;
    put_word(room, value->epoch);
    put_word(room + 8, (uint64_t)value->count);
    *raw = tly_slice_of(room, TLY_RAW_EPOCH_MAX_BYTES);
    return true;
}
