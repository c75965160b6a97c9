/* Dots in files and in memory: what export, apply, diff, explain and get share. */
#ifndef TALLY_TOOLS_TALLYCTL_ARCHIVE_H
#define TALLY_TOOLS_TALLYCTL_ARCHIVE_H

#include "crdt/clock.h"
#include "tools/tallyctl.h"
#include "wire/archive.h"

/* Of a dot in memory; the bytes are the table's. */
struct tly_ctl_row {
    struct tly_slice key;
    const struct tly_strategy *strategy;
    struct tly_dot dot;
};

/* A table of dots, which owns their bytes. {0} is an empty one. */
struct tly_ctl_rows {
    struct tly_ctl_row *list;
    size_t count, capacity;
    struct tly_ctl_block *blocks;
};

/* Copies a row in. False: no memory. */
bool tly_ctl_rows_add(struct tly_ctl_rows *rows, const struct tly_ctl_row *row);
void tly_ctl_rows_free(struct tly_ctl_rows *rows);
/* By key, then in the order in which nodes list dots. */
void tly_ctl_rows_sort(struct tly_ctl_rows *rows);
/* How many rows from i on, of a sorted table, have the key of row i. */
size_t tly_ctl_rows_group(const struct tly_ctl_rows *rows, size_t i);

/* Bytes that somebody else made, given one after the other. */
struct tly_ctl_reading {
    struct tly_ctl_rows *rows; /* those read are added; NULL: they are only checked */
    struct tly_slice only_key; /* with n > 0: no others are added */
    uint64_t dots;             /* how many there are so far */
    struct tly_archive_reader reader;
    struct tly_buf in;
    char error[200];
};

void tly_ctl_reading_init(struct tly_ctl_reading *reading, struct tly_ctl_rows *rows);
void tly_ctl_reading_fini(struct tly_ctl_reading *reading);
/* False: error says what is wrong and at which byte. The second is for the end. */
bool tly_ctl_reading_take(struct tly_ctl_reading *reading, struct tly_slice bytes);
bool tly_ctl_reading_end(struct tly_ctl_reading *reading);

/* Adds all dots of a file, or of standard input if it is "-". False: it was said what is wrong. */
bool tly_ctl_read_file(const char *path, struct tly_slice only_key, struct tly_ctl_rows *rows);
/* Removes what was begun and is not whole; what is no file but a device, a pipe or a link stays. */
void tly_ctl_remove_file(const char *path);
/* Writes an archive. False: it was said what is wrong, and there is no such file. */
bool tly_ctl_write_file(const char *path, const struct tly_ctl_rows *rows);

/* ---- tallyctl_store.c ---- */

struct tly_engine;

/* Whose log is read: each row of each batch, in the order in which they were logged. False ends it. */
typedef bool tly_ctl_each(void *context, const struct tly_row *row);
/* For a node that is stopped; nothing there is changed. False: it was said what is wrong. */
bool tly_ctl_store_each(const char *directory, tly_ctl_each *each, void *context);
/* An engine with what the log holds; to be freed. NULL: it was said what is wrong. */
struct tly_engine *tly_ctl_store_engine(const char *directory);
/* Holds the node's lock without writing to it. Its descriptor; -1: it was said what is wrong. */
int tly_ctl_store_hold(const char *directory);
/* An empty engine. NULL: it was said what is wrong. */
struct tly_engine *tly_ctl_store_new_engine(const char *name, bool has_store);
struct tly_time tly_ctl_store_now(void);
/* Joins an archive durably, all or nothing. */
enum tly_ctl_exit tly_ctl_store_apply(const char *directory, struct tly_slice archive,
                                      const struct tly_ctl *ctl);

/* What an apply did, for people or as JSON. */
void tly_ctl_show_applied(const struct tly_ctl *ctl, uint64_t dots, uint64_t applied, uint64_t repaired);

#endif
