/* status and peers: what a node says of itself and of the others. */
#include "tools/tallyctl.h"

#include <stdlib.h>

/* ---- the node ---- */

#define STATUS_ROWS_MAX 16

/* Rows of a name and a value; values that are made up here stand in `text`. */
struct status {
    const char *cells[STATUS_ROWS_MAX][2];
    char text[STATUS_ROWS_MAX][64];
    size_t count;
};

static void add_row(struct status *status, const char *name, const char *value)
{
    status->cells[status->count][0] = name;
    status->cells[status->count++][1] = value;
}

/* The room for the next row's value. */
static char *room(struct status *status)
{
    return status->text[status->count];
}

static void add_quantities(struct status *status, struct json_object *node)
{
    size_t size = sizeof status->text[0];
    tly_ctl_duration((double)tly_ctl_int(node, "uptime_s"), room(status), size);
    add_row(status, "up for", room(status));
    add_row(status, "keys", tly_ctl_text(node, "keys"));
    tly_ctl_bytes((double)tly_ctl_int(node, "bytes"), room(status), size);
    add_row(status, "memory", room(status));
    snprintf(room(status), size, "%s records", tly_ctl_text(node, "log_records"));
    add_row(status, "log", room(status));
    add_row(status, "lives", tly_ctl_text(node, "lives"));
}

static void add_peers(struct status *status, struct json_object *node)
{
    struct json_object *peers = json_object_object_get(node, "peers");
    if (!json_object_is_type(peers, json_type_array)) return;
    size_t count = json_object_array_length(peers), up = 0;
    for (size_t i = 0; i < count; i++)
        up += tly_ctl_is_true(json_object_array_get_idx(peers, i), "up");
    snprintf(room(status), sizeof status->text[0], "%zu of %zu up", up, count);
    add_row(status, "peers", room(status));
}

/* Why it is not ready; nothing of one that is, or of a node that does not say. */
static size_t count_reasons(struct json_object *node)
{
    struct json_object *reasons = json_object_object_get(node, "reasons");
    return json_object_is_type(reasons, json_type_array) ? json_object_array_length(reasons) : 0;
}

static struct json_object *reason_at(struct json_object *node, size_t i)
{
    return json_object_array_get_idx(json_object_object_get(node, "reasons"), i);
}

static const char *clock_word(struct json_object *node)
{
    for (size_t i = 0; i < count_reasons(node); i++)
        if (strcmp(tly_ctl_text(reason_at(node, i), "reason"), "clock") == 0) return "wrong";
    return tly_ctl_is_true(node, "clock_covered")
               ? "good"
               : "ahead of what is durable: order over a crash is not assured";
}

static void print_reasons(struct json_object *node)
{
    for (size_t i = 0; i < count_reasons(node); i++) {
        printf("not ready: ");
        tly_ctl_print_plain(tly_ctl_text(reason_at(node, i), "detail"));
        putchar('\n');
    }
}

static enum tly_ctl_exit show_status(struct json_object *node)
{
    struct status status = {.count = 0};
    add_row(&status, "name", tly_ctl_text(node, "name"));
    add_row(&status, "cluster", tly_ctl_text(node, "cluster"));
    add_row(&status, "address", tly_ctl_text(node, "address"));
    add_row(&status, "version", tly_ctl_text(node, "version"));
    add_row(&status, "life", tly_ctl_text(node, "origin"));
    add_quantities(&status, node);
    add_row(&status, "clock", clock_word(node));
    add_row(&status, "store",
            tly_ctl_is_true(node, "store_failing") ? "FAILS: what is new is in memory only" : "good");
    add_peers(&status, node);
    if (tly_ctl_text(node, "digest")[0] != '\0') add_row(&status, "digest", tly_ctl_text(node, "digest"));
    tly_ctl_table(stdout, &status.cells[0][0], status.count, 2);
    print_reasons(node);
    return TLY_CTL_DONE;
}

enum tly_ctl_exit tly_ctl_status(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    const char *path = args->option[0] != NULL ? "/v1/cluster?digest=1" : "/v1/cluster";
    return tly_ctl_ask_and_show(ctl, &(struct tly_ctl_request){.method = "GET", .path = path}, show_status);
}

/* ---- the others ---- */

#define TEXT_BYTES 24

/* The rows of the table point into their own texts. */
struct peer_row {
    const char *name, *address, *state, *life;
    char heard[TEXT_BYTES], round_trip[TEXT_BYTES], offset[TEXT_BYTES];
    const char *lag;
    char queued[TEXT_BYTES], sent[TEXT_BYTES], received[TEXT_BYTES];
};

static const char *const titles[] = {"NAME",   "ADDRESS", "STATE",  "LIFE", "HEARD",   "ROUND TRIP",
                                     "OFFSET", "LAG",     "QUEUED", "SENT", "RECEIVED"};

#define COLUMNS (sizeof titles / sizeof titles[0])

/* Empty if the member is not there. */
static void put_duration(struct json_object *peer, const char *name, double unit, char *text)
{
    if (!json_object_object_get_ex(peer, name, NULL)) return;
    tly_ctl_duration((double)tly_ctl_int(peer, name) * unit, text, TEXT_BYTES);
}

static void put_bytes(struct json_object *peer, const char *name, char *text)
{
    tly_ctl_bytes((double)tly_ctl_int(peer, name), text, TEXT_BYTES);
}

/* Why there is no session: what the member list says, or that the ring has no link for it. */
static const char *down_word(struct json_object *peer)
{
    const char *state = tly_ctl_text(peer, "state");
    if (strcmp(state, "alive") != 0 && strcmp(state, "unknown") != 0) return state;
    return tly_ctl_is_true(peer, "linked") ? "down" : "not linked";
}

static void read_peer(struct json_object *peer, struct peer_row *row)
{
    row->name = tly_ctl_text(peer, "name");
    row->address = tly_ctl_text(peer, "address");
    row->state = tly_ctl_is_true(peer, "up")
                     ? tly_ctl_is_true(peer, "dialled") ? "up, dialled" : "up, accepted"
                     : down_word(peer);
    row->life = tly_ctl_text(peer, "origin");
    put_duration(peer, "last_heard_ms", 1e-3, row->heard);
    put_duration(peer, "rtt_ns", 1e-9, row->round_trip);
    put_duration(peer, "offset_ns", 1e-9, row->offset);
    row->lag = tly_ctl_text(peer, "lag_dots");
    put_bytes(peer, "queued_bytes", row->queued);
    put_bytes(peer, "bytes_sent", row->sent);
    put_bytes(peer, "bytes_received", row->received);
}

static void put_cells(const struct peer_row *row, const char **cells)
{
    const char *const texts[COLUMNS] = {row->name,   row->address,    row->state,   row->life,
                                        row->heard,  row->round_trip, row->offset,  row->lag,
                                        row->queued, row->sent,       row->received};
    memcpy(cells, texts, sizeof texts);
}

static enum tly_ctl_exit show_peers(struct json_object *peers)
{
    size_t count = json_object_is_type(peers, json_type_array) ? json_object_array_length(peers) : 0;
    if (count == 0) {
        puts("no peers");
        return TLY_CTL_DONE;
    }
    struct peer_row *rows = calloc(count, sizeof *rows);
    const char **cells = calloc((count + 1) * COLUMNS, sizeof *cells);
    if (rows != NULL && cells != NULL) {
        memcpy(cells, titles, sizeof titles);
        for (size_t i = 0; i < count; i++) {
            read_peer(json_object_array_get_idx(peers, i), &rows[i]);
            put_cells(&rows[i], cells + (i + 1) * COLUMNS);
        }
        tly_ctl_table(stdout, cells, count + 1, COLUMNS);
    } else {
        tly_ctl_complain("out of memory");
    }
    free(rows);
    free(cells);
    return TLY_CTL_DONE;
}

enum tly_ctl_exit tly_ctl_peers(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    (void)args;
    return tly_ctl_ask_and_show(ctl, &(struct tly_ctl_request){.method = "GET", .path = "/v1/peers"},
                                show_peers);
}
