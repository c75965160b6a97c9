#include "crdt/entry.h"

#include "crdt/arena.h"

enum { KIND_PUT = 0, KIND_UNSEALED = 1, KIND_UNSEALED_AUX = 2, KIND_REMOVE = 3 };

#define KIND_SHIFT 12
#define LAST_BIT 0x8000u
/* A life below this takes one byte; otherwise the first has the top bit. */
#define LIFE_SHORT 0x80u

static const uint8_t width_of_code[8] = {0, 1, 2, 3, 4, 5, 6, 8};
static const uint64_t mask_of_code[8] = {
    0, 0xff, 0xffff, 0xffffff, 0xffffffff, UINT64_C(0xffffffffff), UINT64_C(0xffffffffffff), UINT64_MAX};
/* By the bits from the highest one that is set. */
static const uint8_t code_of_bits[65] = {0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3,
                                         3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5, 6, 6, 6,
                                         6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7};

static_assert(TLY_ARENA_SLACK >= sizeof(uint64_t), "a whole word may be loaded where a short one lies");
static_assert(TLY_KEY_BYTES_MAX <= 512, "key length - 1 has nine bits");
static_assert(TLY_ORIGINS_MAX <= 0x8000, "the number of a life has fifteen bits");

/* Numbers lie with their low byte first, so that a short one is a whole one, cut off. */
static inline uint64_t load(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static inline void store(uint8_t *at, uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    memcpy(at, &word, sizeof word);
}

static inline unsigned load_shape(const uint8_t *at)
{
    return (unsigned)at[0] | (unsigned)at[1] << 8;
}

static inline void store_shape(uint8_t *at, unsigned shape)
{
    at[0] = (uint8_t)shape;
    at[1] = (uint8_t)(shape >> 8);
}

static inline unsigned code_for(uint64_t word)
{
    return code_of_bits[word == 0 ? 0 : 64 - __builtin_clzll(word)];
}

static inline uint64_t folded(uint64_t word)
{
    return word << 1 ^ (0 - (word >> 63));
}

static inline uint64_t unfolded(uint64_t word)
{
    return word >> 1 ^ (0 - (word & 1));
}

static inline unsigned kind_of(const struct tly_cell *cell)
{
    if (cell->dot.op == TLY_REMOVE) return KIND_REMOVE;
    if (!cell->unsealed) return KIND_PUT;
    return cell->says_aux ? KIND_UNSEALED_AUX : KIND_UNSEALED;
}

/* Writes word i in as few bytes as it needs and notes how many. */
static inline uint8_t *put_word(uint8_t *next, unsigned *shape, unsigned i, uint64_t word, unsigned is_signed)
{
    word = is_signed != 0 ? folded(word) : word;
    unsigned code = code_for(word);
    *shape |= code << (3 * i);
    store(next, word);
    return next + width_of_code[code];
}

size_t tly_cell_encode(uint8_t out[TLY_CELL_FIXED_MAX], const struct tly_strategy *strategy,
                       const struct tly_cell *cell)
{
    const struct tly_dot *dot = &cell->dot;
    unsigned shape = kind_of(cell) << KIND_SHIFT, signs = strategy->signed_nums;
    uint8_t *next = out + sizeof(uint16_t);
    if (cell->life < LIFE_SHORT) {
        *next++ = (uint8_t)cell->life;
    } else {
        *next++ = (uint8_t)(cell->life >> 8 | LIFE_SHORT);
        *next++ = (uint8_t)cell->life;
    }
    store(next, dot->version.ts);
    next += sizeof(uint64_t);
    /* Words that a strategy does not have are 0 and take no byte. */
    next = put_word(next, &shape, 0, dot->num[0], signs & 1);
    next = put_word(next, &shape, 1, dot->num[1], signs & 2);
    next = put_word(next, &shape, 2, dot->num[2], signs & 4);
    next = put_word(next, &shape, 3, dot->num[3], signs & 8);
    if (dot->bytes.n > 0) next = put_word(next, &shape, strategy->nums, dot->bytes.n, 0);
    store_shape(out, shape);
    return (size_t)(next - out);
}

size_t tly_cell_size(const struct tly_strategy *strategy, const struct tly_cell *cell)
{
    uint8_t fixed[TLY_CELL_FIXED_MAX];
    return tly_cell_encode(fixed, strategy, cell) + cell->dot.bytes.n;
}

uint8_t *tly_cell_put(uint8_t *at, const struct tly_strategy *strategy, const struct tly_cell *cell)
{
    uint8_t fixed[TLY_CELL_FIXED_MAX];
    size_t n = tly_cell_encode(fixed, strategy, cell);
    memcpy(at, fixed, n);
    if (cell->dot.bytes.n > 0) memcpy(at + n, cell->dot.bytes.p, cell->dot.bytes.n);
    return at + n + cell->dot.bytes.n;
}

void tly_cell_mark_last(uint8_t *at, bool last)
{
    store_shape(at, (load_shape(at) & ~LAST_BIT) | (last ? LAST_BIT : 0));
}

bool tly_cell_put_same(uint8_t *at, size_t size, const struct tly_strategy *strategy,
                       const struct tly_cell *cell)
{
    uint8_t fixed[TLY_CELL_FIXED_MAX];
    size_t n = tly_cell_encode(fixed, strategy, cell);
    if (n + cell->dot.bytes.n != size) return false;
    store_shape(fixed, load_shape(fixed) | (load_shape(at) & LAST_BIT));
    memcpy(at, fixed, n);
    return true;
}

static inline const uint8_t *get_word(const uint8_t *next, unsigned code, unsigned is_signed, uint64_t *word)
{
    uint64_t raw = load(next) & mask_of_code[code & 7];
    *word = is_signed != 0 ? unfolded(raw) : raw;
    return next + width_of_code[code & 7];
}

bool tly_cells_next(struct tly_cells *cells, struct tly_cell *cell)
{
    const uint8_t *at = cells->next;
    if (at == NULL) return false;
    const struct tly_strategy *strategy = cells->strategy;
    unsigned shape = load_shape(at), kind = shape >> KIND_SHIFT & 3, signs = strategy->signed_nums;
    const uint8_t *next = at + sizeof(uint16_t);
    struct tly_dot *dot = &cell->dot;
    cell->at = at;
    cell->life = *next++;
    if (cell->life >= LIFE_SHORT) cell->life = (cell->life & (LIFE_SHORT - 1)) << 8 | *next++;
    dot->version = (struct tly_version){.ts = load(next)};
    next += sizeof(uint64_t);
    dot->op = kind == KIND_REMOVE ? TLY_REMOVE : TLY_PUT;
    cell->unsealed = kind == KIND_UNSEALED || kind == KIND_UNSEALED_AUX;
    cell->says_aux = kind == KIND_UNSEALED_AUX;
    /* Words that are not there have no width and read as 0. */
    next = get_word(next, shape, signs & 1, &dot->num[0]);
    next = get_word(next, shape >> 3, signs & 2, &dot->num[1]);
    next = get_word(next, shape >> 6, signs & 4, &dot->num[2]);
    next = get_word(next, shape >> 9, signs & 8, &dot->num[3]);
    dot->bytes = tly_slice_of(NULL, 0);
    if (strategy->has_bytes) {
        size_t n = (size_t)dot->num[strategy->nums];
        dot->num[strategy->nums] = 0;
        if (n > 0) dot->bytes = tly_slice_of(next, n);
        next += n;
    }
    cell->size = (uint32_t)(next - at);
    cells->next = (shape & LAST_BIT) != 0 ? NULL : next;
    return true;
}

bool tly_cells_skim(struct tly_cells *cells, struct tly_cell_brief *brief)
{
    const uint8_t *at = cells->next;
    if (at == NULL) return false;
    unsigned shape = load_shape(at), life = at[2];
    const uint8_t *next = at + 3;
    if (life >= LIFE_SHORT) life = (life & (LIFE_SHORT - 1)) << 8 | *next++;
    *brief = (struct tly_cell_brief){load(next), life, at};
    cells->next = NULL;
    if ((shape & LAST_BIT) != 0) return true;
    next += sizeof(uint64_t);
    unsigned widths = shape;
    for (unsigned i = 0; i < cells->strategy->nums; i++, widths >>= 3)
        next += width_of_code[widths & 7];
    if (cells->strategy->has_bytes)
        next += width_of_code[widths & 7] + (size_t)(load(next) & mask_of_code[widths & 7]);
    cells->next = next;
    return true;
}

size_t tly_entry_size(size_t key_bytes, bool has_local, size_t cells_bytes)
{
    size_t bytes = (has_local ? TLY_ENTRY_LOCAL_BYTES : TLY_ENTRY_HEAD_BYTES) + key_bytes + cells_bytes;
    return has_local ? (bytes + 7) / 8 * 8 : bytes;
}

struct tly_entry *tly_entry_make(void *block, const struct tly_strategy *strategy, struct tly_slice key)
{
    struct tly_entry *entry = block;
    size_t low = key.n - 1;
    entry->flags = (uint8_t)(strategy->id | (low > 0xff ? TLY_ENTRY_LONG_KEY : 0));
    entry->key_low = (uint8_t)low;
    memcpy(entry->tail, key.p, key.n);
    return entry;
}

size_t tly_entry_cells_size(const struct tly_entry *entry, const struct tly_strategy *strategy)
{
    struct tly_cells cells = tly_cells_of(entry, strategy);
    size_t size = 0;
    for (struct tly_cell cell; tly_cells_next(&cells, &cell);)
        size += cell.size;
    return size;
}

struct tly_slice tly_entry_key(const struct tly_entry *entry)
{
    return tly_slice_of(tly_entry_key_at(entry), tly_entry_key_bytes(entry));
}

const struct tly_strategy *tly_entry_strategy(const struct tly_entry *entry)
{
    return tly_strategy_by_id(entry->flags & TLY_ENTRY_STRATEGY);
}

bool tly_entry_is_unsealed(const struct tly_entry *entry)
{
    struct tly_cells cells = tly_cells_of(entry, tly_entry_strategy(entry));
    for (struct tly_cell cell; tly_cells_next(&cells, &cell);)
        if (cell.unsealed) return true;
    return false;
}

uint64_t *tly_entry_local(struct tly_entry *entry)
{
    if ((entry->flags & TLY_ENTRY_LOCAL) == 0) return NULL;
    return (uint64_t *)(void *)((uint8_t *)entry + 8);
}
