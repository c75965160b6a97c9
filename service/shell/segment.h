/*
 * The files of the store: segments of the log, log-<number>.tly, and snapshots, snap-<number>.tly.  Each is a header, then records
 * that are frames of the wire.
 *
 *     magic     10 bytes: "tally log" or "tally snp" and a newline
 *     format    2 bytes, little-endian
 *     number    8 bytes, little-endian: that of the name
 *
 *     ROUND         a batch
 *     SYNCED        in a log: so many bytes of this segment were durable before this record was appended
 *     SEGMENT_END   the last one of a snapshot: how many batches there are, and a digest of all before it
 *
 * Behind the last record of a log that was not closed there may be zeros: room for what would have come.
 *
 * What a crash left at the end of a log is told from damage by SYNCED: who lost what was synced is damaged.  A segment of format 1
 * has no such records; there, whatever is followed by a valid record is taken to be damage.
 */
#ifndef TALLY_SERVICE_SHELL_SEGMENT_H
#define TALLY_SERVICE_SHELL_SEGMENT_H

#include "service/shell/store.h"
#include "wire/buf.h"

#define TLY_SEGMENT_FORMAT 2
#define TLY_SEGMENT_HEADER_BYTES 20
#define TLY_SEGMENT_NAME_BYTES 32

enum tly_segment_kind { TLY_SEGMENT_LOG, TLY_SEGMENT_SNAPSHOT, TLY_SEGMENT_KINDS };

void tly_segment_name(enum tly_segment_kind kind, uint64_t number, char name[TLY_SEGMENT_NAME_BYTES]);
/* Whether it is the name of one of this kind, and of which. */
bool tly_segment_parse_name(enum tly_segment_kind kind, const char *name, uint64_t *number);
void tly_segment_header(enum tly_segment_kind kind, uint64_t number,
                        uint8_t header[TLY_SEGMENT_HEADER_BYTES]);
/* Appends a SYNCED record. */
void tly_segment_put_synced(struct tly_buf *out, uint64_t bytes);

/* Bytes of a snapshot as they are written or read, and the SEGMENT_END that stands for them. A value. */
struct tly_segment_sum {
    uint64_t batches, digest;
};

/* Appends a batch, and adds its record to the sum. */
void tly_segment_put_batch(struct tly_buf *out, struct tly_slice batch, struct tly_segment_sum *sum);
void tly_segment_put_end(struct tly_buf *out, const struct tly_segment_sum *sum);

/* The first `bytes` bytes of a file. */
struct tly_segment_part {
    struct tly_storage *storage;
    enum tly_segment_kind kind;
    uint64_t number;
    uint64_t bytes;
};

struct tly_segment_end {
    uint64_t valid;     /* bytes up to the end of the last record that was taken */
    uint64_t following; /* behind damage: where valid records go on; 0: nowhere */
    uint64_t synced;    /* of a log: so much was durable, by its own word; 0: unknown */
    unsigned format;
    bool
        is_blank; /* of a log: all behind `valid` is zeros: room that was made for what never came (tly_storage_append_roomy) */
    bool is_takers; /* the result is that of take() */
};

/*
 * Gives the batches in a part of a file to take().
 *   TLY_OK             all of it; end->valid is part->bytes. Of a snapshot: with its end
 *   TLY_MORE           a log: nothing beyond end->valid is known to have been durable: torn, or blank. A snapshot: it has no end
 *   TLY_BAD_CHECKSUM   damaged at end->valid
 *   TLY_BAD_FRAME      not of this kind and number
 *   TLY_UNKNOWN_FRAME  of a newer format
 *   TLY_IO, TLY_NOT_FOUND, TLY_NOMEM, or what take() returned
 */
enum tly_result tly_segment_read(const struct tly_segment_part *part, tly_take_batch *take, void *context,
                                 struct tly_segment_end *end) TLY_MUST_CHECK;

/*
 * Gives take() every batch that can be read, wherever: behind damage it goes on with the next valid record. Results as of
 * tly_segment_read, save that damage is none; how many bytes were passed over is *lost.
 */
enum tly_result tly_segment_salvage(const struct tly_segment_part *part, tly_take_batch *take, void *context,
                                    uint64_t *lost) TLY_MUST_CHECK;

#endif
