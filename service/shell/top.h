/* The keys at the top: those that are asked most, and those that are fullest. */
#ifndef TALLY_SERVICE_SHELL_TOP_H
#define TALLY_SERVICE_SHELL_TOP_H

#include "service/shell/app.h"

#define TLY_TOP_ROWS_MAX 512

enum tly_top_order { TLY_TOP_HOTTEST, TLY_TOP_FULLEST };

/* The first `count`, at most TLY_TOP_ROWS_MAX, in that order; how many there are. Keys are good until the next request. */
size_t tly_top_take(struct tly_app *app, enum tly_top_order order, struct tly_top_view *rows, size_t count);
/* The keys that were refused most, of those that are remembered. */
size_t tly_top_refused(struct tly_app *app, struct tly_refusal_view *rows, size_t count);

#endif
