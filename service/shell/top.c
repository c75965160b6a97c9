#include "service/shell/top.h"

/* Whether a stands before b. */
static bool is_hotter(const struct tly_top_view *a, const struct tly_top_view *b)
{
    return a->checks_per_1000s > b->checks_per_1000s;
}

static bool is_fuller(const struct tly_top_view *a, const struct tly_top_view *b)
{
    __extension__ typedef unsigned __int128 wide;
    wide x = (wide)a->used * b->limit, y = (wide)b->used * a->limit;
    return x != y ? x > y : is_hotter(a, b);
}

size_t tly_top_take(struct tly_app *app, enum tly_top_order order, struct tly_top_view *rows, size_t count)
{
    struct tly_top_view view;
    size_t n = 0, cursor = 0;
    while (count > 0 && tly_engine_top(tly_app_engine(app), tly_app_now(app), &cursor, &view)) {
        bool is_hottest = order == TLY_TOP_HOTTEST;
        if (is_hottest ? view.checks_per_1000s == 0 : view.used == 0) continue;
        size_t at = n < count ? n++ : count;
        bool (*is_before)(const struct tly_top_view *, const struct tly_top_view *) =
            is_hottest ? is_hotter : is_fuller;
        if (at == count && !is_before(&view, &rows[--at])) continue;
        for (; at > 0 && is_before(&view, &rows[at - 1]); at--)
            rows[at] = rows[at - 1];
        rows[at] = view;
    }
    return n;
}

size_t tly_top_refused(struct tly_app *app, struct tly_refusal_view *rows, size_t count)
{
    struct tly_refusal_view view;
    size_t n = 0, cursor = 0;
    while (count > 0 && tly_engine_refused(tly_app_engine(app), &cursor, &view)) {
        size_t at = n < count ? n++ : count;
        if (at == count && view.times <= rows[--at].times) continue;
        for (; at > 0 && view.times > rows[at - 1].times; at--)
            rows[at] = rows[at - 1];
        rows[at] = view;
    }
    return n;
}
