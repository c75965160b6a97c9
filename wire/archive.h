/*
 * An archive: dots in a file, to be kept, compared and given back.  It is a stream in both directions: whoever writes or reads one
 * needs room for one frame, however long it is.
 *
 *     magic   16 bytes
 *     HEAD    a frame: who wrote it, and what it holds
 *     ROWS    frames, perhaps none: dots, in any order
 *     END     a frame: how many dots there were, and a digest of all bytes before it
 *
 * A file that was cut off anywhere or had any bit turned is told from a whole one.  How rows are encoded is known here alone.
 * See PROTOCOL.md, 10.
 */
#ifndef TALLY_WIRE_ARCHIVE_H
#define TALLY_WIRE_ARCHIVE_H

#include "wire/frame.h"
#include "wire/message.h"

#define TLY_ARCHIVE_FORMAT 1
#define TLY_ARCHIVE_MAGIC_BYTES 16
/* The longest frame: whoever offers a reader so many bytes is never asked for more. */
#define TLY_ARCHIVE_FRAME_BYTES_MAX (TLY_FRAME_HEAD_MAX + TLY_FRAME_BODY_MAX)

/* What a file says of itself. `marks` is not read when one is written: the list is given beside it. */
struct tly_archive_head {
    struct tly_slice cluster, name; /* of the node that wrote it; both may be empty */
    struct tly_slice prefix;        /* only keys that begin so are in it; empty: all but those under sys: */
    uint64_t origin;                /* the life that wrote it, 0: none did */
    uint64_t wall_ns;
    /* For keys of the prefix: each dot of an origin up to its mark is in the file, or redundant there. */
    struct tly_marks marks;
};

/* ---- writing ---- */

struct tly_archive_writer {
    uint64_t rows;
    uint64_t digest;
    struct tly_buf body;
};

void tly_archive_writer_init(struct tly_archive_writer *writer, const struct tly_mem *mem);
void tly_archive_writer_fini(struct tly_archive_writer *writer);
/* Each appends to `out`; failure is in out->result. First the head, once; then rows as often as there are; the end, once. */
void tly_archive_put_head(struct tly_archive_writer *writer, const struct tly_archive_head *head,
                          struct tly_mark_list marks, struct tly_buf *out);
void tly_archive_put_rows(struct tly_archive_writer *writer, const struct tly_round_writer *rows,
                          struct tly_buf *out);
void tly_archive_put_end(struct tly_archive_writer *writer, struct tly_buf *out);

/* ---- reading ---- */

enum tly_archive_part { TLY_ARCHIVE_HEAD, TLY_ARCHIVE_ROWS, TLY_ARCHIVE_END };

struct tly_archive_reader {
    uint64_t offset; /* of the next frame; after a failure of the one that is wrong */
    uint64_t rows;
    uint64_t digest;
    bool has_head, has_end;
    struct tly_buf scratch;
};

/* One part; borrows from the input or from the reader, until the next call. */
struct tly_archive_item {
    enum tly_archive_part part;
    struct tly_archive_head head; /* of a HEAD */
    struct tly_round rows;        /* of ROWS: to be walked with tly_rows_of; has no marks */
};

void tly_archive_reader_init(struct tly_archive_reader *reader, const struct tly_mem *mem);
void tly_archive_reader_fini(struct tly_archive_reader *reader);
/* Begins anew. Its memory is kept: what was read to its end once can be read again without more. */
void tly_archive_reader_rewind(struct tly_archive_reader *reader);
/*
 * Reads the next part at the beginning of `in`, which lies at reader->offset of the file.
 *   TLY_OK              *item is set and *consumed bytes are its own; magic and HEAD come as one
 *   TLY_MORE            the beginning of a part; at the end of a file: it was cut off
 *   TLY_UNKNOWN_FRAME   of a newer format
 *   TLY_BAD_FRAME, TLY_BAD_CHECKSUM, TLY_TOO_LARGE, TLY_BAD_MESSAGE
 *                       damaged or no archive; TLY_BAD_MESSAGE too for bytes behind the END
 *   TLY_NOMEM
 * Of any but TLY_OK nothing is remembered: the same bytes may be tried again, with more behind them.
 */
enum tly_result tly_archive_get(struct tly_archive_reader *reader, struct tly_slice in,
                                struct tly_archive_item *item, size_t *consumed) TLY_MUST_CHECK;

#endif
