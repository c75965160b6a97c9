/*
 * Forgetting a delete: one key, three nodes, what 1.5 and 1.6 of the model say of lives, marks, floors, F and cold starts.
 *
 * Nodes 0 and 1 live on. Node 2 may be away for as long as it likes, may fall and come back as a new life on the disk it
 * had or on an older copy of it, and may be forgotten while away and return. Whatever they exchange goes whole, as rounds
 * do (parts of a transfer are snapshot.pml); in which order, and how late, is free.
 *
 * A dot is one byte, (ts, life, kind), and lww's order is the order of those bytes. seen[n] is a ghost: the greatest dot
 * that n was ever told of, by itself or by a round or snapshot that covered it. What must hold in every state:
 *
 *   dead      an entry is what was seen, or nothing, and nothing only after a dead dot: a PUT older than a REMOVE that n was
 *             told of is never read again at n; when all live nodes were told of it, it is never read again at all
 *   covered   a mark claims nothing that was not seen
 *   stay      who was never away nor on an old disk is never told to start cold
 *   equal     nodes with the same marks, and no dot beyond them, read the same
 *
 * What may happen (-D): AWAY node 2 is forgotten; FALLS it begins a new life on its disk; OLD_DISK on an older copy; LATE a dot
 * comes late; DEADLINE instead of a REMOVE there is a PUT with a deadline.
 *
 * Controls (-D), each of which must fail: BY_AGE forgets what is old and not what is stable; BY_TIME drops an expired PUT
 * because its time is over; MARK_PER_NODE keeps marks by node and not by life; NO_FLOOR sends a delta to who is below the
 * floor; TAKE_BELOW_FLOOR takes a round from who is below it; NO_CEILING talks to who holds more of a settled life than was
 * settled; JOINING joins a snapshot with all that is there; KEEP_OLD keeps what is not beyond the snapshot's newest floor;
 * KEEP_OWN keeps what a forgotten life had made and nobody had heard; NO_STALE takes a dot at or below the mark; UNSETTLED
 * takes a life as settled when it has ended; OPEN_END leaves the mark of an ended life behind its newest dot; OLD_LINK hears
 * a life after its end.
 */
#ifndef OPS
#define OPS 2
#endif
#ifndef T
#define T 2 /* the greatest ts */
#endif
#ifndef GAP
#define GAP 2 /* from the clock to a REMOVE's ts */
#endif
#define N 3
#define LIVES 5 /* 0 and 1 of those nodes, 2 and up of node 2, one after another */

#define PUT 0
#define EXPIRING 1 /* a PUT with a deadline */
#define REMOVE 2

#define DOT(ts, life, kind) (((ts) * 8 + (life)) * 4 + (kind))
#define TS(dot) ((dot) >> 5)
#define LIFE(dot) (((dot) >> 2) & 7)
#define KIND(dot) ((dot) & 3)
#define CHOOSE(c, a, b) (((c) != 0) * (a) + ((c) == 0) * (b)) /* its arrow means something else in an index */
#define MAX(a, b) CHOOSE((a) > (b), a, b)
#define IS_DEAD(dot) (KIND(dot) == REMOVE || (KIND(dot) == EXPIRING && expired))
#define READ(n) (ent[n] * !IS_DEAD(ent[n]))

#ifdef MARK_PER_NODE
#define SLOT(l) CHOOSE((l) > 2, 2, l)
#else
#define SLOT(l) (l)
#endif
typedef lifes {
    byte at[LIVES]
}

byte ent[N], seen[N], clock[N];
lifes mark[N], lowest[N]; /* lowest: the floor, by life of the dots forgotten */
byte life2 = 2;           /* of node 2 now */
byte made[OPS], ops;
bool expired;

/* What n knows of node 2: twice the newest life, and one more when it was forgotten. Whatever is greater is newer. */
byte about2[N];
byte voice[LIVES];   /* the number that a life had published when it ended; of a life that goes on it is computed */
byte settled[N];     /* bits of lives */

byte disk_ent, disk_seen, disk_clock, disk_about, disk_settled;
lifes disk_mark, disk_lowest;
bool disk_is, fell;
bool out; /* node 2 starts cold because it was forgotten: what its earlier lives made and nobody heard is set aside */
bool is_cold; /* node 2 was told to start cold: it takes nothing but a snapshot, and hands out nothing */

/* A dot on its way to node 0, however long it takes; what it was sent with is not taken over. */
byte late, late_by; /* late_by: the life whose link it is on */

byte snap_ent, snap_seen, snap_settled, snap_from = N;
lifes snap_mark, snap_lowest;

hidden byte i, j, k, f, ok;

#define LIFE_OF(n) CHOOSE((n) == 2, life2, n)
#define KNOWS(n, l) ((l) < 2 || 2 * (l) <= about2[n] || (l) == 2)
#define ENDED(n, l) ((l) >= 2 && about2[n] > 2 * (l))
#define SETTLED(n, l) ((settled[n] >> (l)) & 1)
#define COUNTS(n, l) (KNOWS(n, l) && !SETTLED(n, l))
#define FORGOTTEN2(n) (about2[n] & 1)
/* n believes m to be a member. */
#define MEMBER(n, m) ((m) != 2 || !FORGOTTEN2(n))

/* A dot that the marks do not cover yet. */
#define BEYOND(n) (TS(ent[n]) > mark[n].at[SLOT(LIFE(ent[n]))] && !SETTLED(n, LIFE(ent[n])))

/* What must hold in every state. */
inline check() {
    i = 0;
    do
    :: i < N ->
        assert(ent[i] == seen[i] || (ent[i] == 0 && IS_DEAD(seen[i])));
        j = 0;
        do
        :: j < ops -> assert(TS(made[j]) > mark[i].at[SLOT(LIFE(made[j]))] || seen[i] >= made[j]); j++
        :: else -> break
        od;
        i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < N ->
        k = (i + 1) % N;
        ok = BEYOND(i) || BEYOND(k);
        j = 0;
        do
        :: j < LIVES -> ok = ok || (mark[i].at[j] != mark[k].at[j] && !(SETTLED(i, j) && SETTLED(k, j))); j++
        :: else -> break
        od;
        assert(ok || READ(i) == READ(k));
        i++
    :: else -> break
    od;
    i = 0; j = 0; k = 0; f = 0; ok = false
}

/* The own mark runs with the clock. */
inline run_clock(n, ts) {
    clock[n] = MAX(clock[n], ts);
    mark[n].at[SLOT(LIFE_OF(n))] = MAX(clock[n], mark[n].at[SLOT(LIFE_OF(n))])
}

/* Of a life that ended no dot is on its way but in ts order, so the mark follows the newest that came. */
inline close_mark(n) {
#ifndef OPEN_END
    if
    :: ent[n] != 0 && ENDED(n, LIFE(ent[n])) ->
        mark[n].at[SLOT(LIFE(ent[n]))] = MAX(mark[n].at[SLOT(LIFE(ent[n]))], TS(ent[n]))
    :: else
    fi
#else
    skip
#endif
}

inline learn(n, about) {
    printf("node %d learns of %d\n", n, about);
    about2[n] = MAX(about2[n], about);
    close_mark(n)
}

inline write(n, gap, kind) {
    printf("node %d writes %d at %d\n", n, kind, clock[n] + gap);
    run_clock(n, clock[n] + gap);
    made[ops] = DOT(clock[n], LIFE_OF(n), kind);
    ent[n] = MAX(ent[n], made[ops]);
    seen[n] = MAX(seen[n], made[ops]);
    ops++;
    check()
}

/* Whether marks `have` are nowhere below the floors `need`. */
#define COMPARE(have, need)                                             \
    i = 0;                                                              \
    do                                                                  \
    :: i < LIVES -> ok = ok && have.at[SLOT(i)] >= need.at[i]; i++      \
    :: else -> break                                                    \
    od

/* What y holds of a life that x has settled goes beyond its settled mark: others will never take it. */
#define COMPARE_SETTLED(x, y)                                           \
    i = 2;                                                              \
    do                                                                  \
    :: i < LIVES - 1 ->                                                 \
        ok = ok && (!SETTLED(x, i) || SETTLED(y, i) || mark[y].at[SLOT(i)] <= mark[x].at[SLOT(i)]); \
        i++                                                             \
    :: else -> break                                                    \
    od

/* Whether s may send d a delta and d may take it. */
inline compare_floors(s, d) {
    ok = true;
#ifndef NO_CEILING
    COMPARE_SETTLED(s, d);
    COMPARE_SETTLED(d, s);
#endif
#ifndef NO_FLOOR
    COMPARE(mark[d], lowest[s]);
#endif
#ifndef TAKE_BELOW_FLOOR
    COMPARE(mark[s], lowest[d]);
#endif
}

inline take_dot(d, dot) {
    if
    :: dot == 0
#ifndef NO_STALE
    :: dot != 0 && (TS(dot) <= mark[d].at[SLOT(LIFE(dot))] || SETTLED(d, LIFE(dot)))
#endif
    :: else ->
        ent[d] = MAX(ent[d], dot);
        seen[d] = MAX(seen[d], dot);
        run_clock(d, TS(dot));
        close_mark(d)
    fi
}

/* What s has that d has not, then s's marks. Who is below the other's floor is told to start cold. */
inline round(s, d) {
    printf("round %d > %d\n", s, d);
    compare_floors(s, d);
    if
    :: ok ->
        take_dot(d, ent[s]);
        seen[d] = MAX(seen[d], seen[s]);
        j = 0;
        do
        :: j < LIVES ->
            if
            :: SLOT(j) == SLOT(LIFE_OF(d))
            :: else ->
                mark[d].at[SLOT(j)] = MAX(mark[d].at[SLOT(j)], mark[s].at[SLOT(j)]);
                run_clock(d, mark[s].at[SLOT(j)])
            fi;
            j++
        :: else -> break
        od;
        learn(d, about2[s])
    :: else ->
        assert(s == 2 || d == 2);
        if
        :: life2 < LIVES - 1 -> start_cold()
        :: else
        fi
    fi;
    check()
}

inline send_late(s, d) {
    printf("late %d > %d\n", s, d);
    compare_floors(s, d);
    if
    :: ok && ent[s] != 0 && TS(ent[s]) > mark[d].at[SLOT(LIFE(ent[s]))] -> late = ent[s]; late_by = LIFE_OF(s)
    :: else
    fi;
    i = 0; ok = false
}

inline arrive_late(d) {
    printf("late dot arrives at %d\n", d);
    if
#ifndef OLD_LINK
    :: ENDED(d, late_by) /* the link went with the life */
#endif
    :: else -> take_dot(d, late)
    fi;
    late = 0; late_by = 0;
    check()
}

/* f: the number of n's life, the least of its marks over lives that are not settled. */
inline number(n) {
    f = T;
    j = 0;
    do
    :: j < LIVES ->
        if
        :: COUNTS(n, j) && mark[n].at[SLOT(j)] < f -> f = mark[n].at[SLOT(j)]
        :: else
        fi;
#ifndef NO_PIN
        if
        :: snap_from == n && COUNTS(n, j) && snap_mark.at[SLOT(j)] < f -> f = snap_mark.at[SLOT(j)]
        :: else
        fi;
#endif
        j++
    :: else -> break
    od
}

/* The life that n believes m to be. */
#define BELIEVED(n, m) CHOOSE((m) == 2, about2[n] / 2, m)

/* A number that was published stays when its life ends, until the next life's is heard. */
inline number_of(n, m) {
    if
    :: BELIEVED(n, m) == LIFE_OF(m) ->
        number(m)
#ifdef PER_NODE
        ; f = MAX(f, voice[LIFE_OF(m)])
#endif
    :: else -> f = voice[BELIEVED(n, m)]
    fi
}

/* All members know the end of life l and have the same mark for it. */
inline settle(n, l) {
    printf("node %d settles %d?\n", n, l);
    ok = true;
#ifndef UNSETTLED
    i = 0;
    do
    :: i < N ->
        ok = ok && (!MEMBER(n, i) || (BELIEVED(n, i) == LIFE_OF(i) && ENDED(i, l) && mark[i].at[SLOT(l)] == mark[n].at[SLOT(l)]));
        i++
    :: else -> break
    od;
#endif
    if
    :: ok -> settled[n] = settled[n] | (1 << (l))
    :: else
    fi;
    i = 0; ok = false
}

inline forget(n) {
    printf("node %d forgets %d at %d?\n", n, LIFE(ent[n]), TS(ent[n]));
    k = T;
#ifndef BY_AGE
    i = 0;
    do
    :: i < N ->
        f = T;
        if
        :: MEMBER(n, i) -> number_of(n, i)
        :: else
        fi;
        if
        :: f < k -> k = f
        :: else
        fi;
        i++
    :: else -> break
    od;
#endif
#ifdef BY_TIME
    if
    :: KIND(ent[n]) == EXPIRING -> k = T
    :: else
    fi;
#endif
    if
    :: TS(ent[n]) <= k ->
#ifndef BY_TIME
        lowest[n].at[LIFE(ent[n])] = MAX(lowest[n].at[LIFE(ent[n])], TS(ent[n]));
#endif
        ent[n] = 0
    :: else
    fi;
    check()
}

inline copy(to, from) {
    i = 0;
    do
    :: i < LIVES -> to.at[i] = from.at[i]; i++
    :: else -> break
    od;
    i = 0
}

inline back_up() {
    printf("backup\n");
    disk_is = true;
    disk_ent = ent[2];
    disk_seen = seen[2];
    disk_clock = clock[2];
    disk_about = about2[2];
    disk_settled = settled[2];
    copy(disk_mark, mark[2]);
    copy(disk_lowest, lowest[2])
}

inline begin_life() {
    number(2);
    voice[life2] = f;
#ifdef PER_NODE
    voice[life2 + 1] = f;
#endif
    life2++;
    learn(2, 2 * life2);
    run_clock(2, clock[2])
}

inline fall() {
    printf("node 2 falls\n");
    fell = true;
    is_cold = false; out = false;
    drop_snapshot();
    begin_life();
    check()
}

/* An older copy of the disk, and a wall clock that is no help: the ts begin again where the copy's were. */
inline restore() {
    printf("restored\n");
    ent[2] = disk_ent;
    seen[2] = disk_seen;
    clock[2] = disk_clock;
    settled[2] = disk_settled;
    copy(mark[2], disk_mark);
    copy(lowest[2], disk_lowest);
    fall()
}

inline drop_snapshot() {
    snap_from = N;
    snap_ent = 0; snap_seen = 0; snap_settled = 0;
    i = 0;
    do
    :: i < LIVES -> snap_mark.at[i] = 0; snap_lowest.at[i] = 0; i++
    :: else -> break
    od;
    i = 0
}

/* Node 2 is told to start cold: it takes a new life, which everybody has to know before the first byte. */
inline start_cold() {
    printf("cold start\n");
    is_cold = true;
    begin_life();
    check()
}

inline take_snapshot(s) {
    printf("snapshot of %d\n", s);
    snap_from = s;
    snap_ent = ent[s];
    snap_seen = seen[s];
    snap_settled = settled[s];
    copy(snap_mark, mark[s]);
    copy(snap_lowest, lowest[s])
}

/*
 * Of what is here stays what the snapshot has, and what is beyond its marks and its newest floor. What the new life itself had
 * written below that was heard by nobody: it is withdrawn.
 */
inline install() {
    printf("installed\n");
    k = 0;
    i = 0;
    do
    :: i < LIVES -> k = MAX(k, snap_lowest.at[i]); i++
    :: else -> break
    od;
    f = ent[2];
#ifndef JOINING
    if
    :: f == snap_ent
    :: f != snap_ent && (TS(f) <= snap_mark.at[SLOT(LIFE(f))] || ((snap_settled >> LIFE(f)) & 1)) -> f = 0
#ifndef KEEP_OLD
    :: f != snap_ent && TS(f) <= k -> f = 0
#endif
#ifndef KEEP_OWN
    :: f != snap_ent && out && LIFE(f) >= 2 && LIFE(f) < life2 -> f = 0
#endif
    :: else
    fi;
#endif
#ifndef KEEP_OLD
    i = 0;
    do
    :: i < ops ->
        if
        :: LIFE(made[i]) == life2 && TS(made[i]) <= k -> made[i] = 0
        :: else
        fi;
        i++
    :: else -> break
    od;
#endif
    ent[2] = MAX(f, snap_ent);
    seen[2] = MAX(f, snap_seen);
    settled[2] = snap_settled;
    copy(mark[2], snap_mark);
    copy(lowest[2], snap_lowest);
    i = 0;
    do
    :: i < LIVES -> clock[2] = MAX(clock[2], mark[2].at[i]); i++
    :: else -> break
    od;
    run_clock(2, MAX(TS(ent[2]), k));
    close_mark(2);
    drop_snapshot();
    is_cold = false; out = false;
    check()
}

/* Who forgot node 2 speaks to no earlier life of it, and node 2 while cold to nobody. */
#define MAY_TALK(s, d) (!(is_cold && ((s) == 2 || (d) == 2)) && \
    (((s) != 2 && (d) != 2) || (FORGOTTEN2(s) == 0 && FORGOTTEN2(d) == 0)))

#define PUTS(n)                                                                    \
    :: ops < OPS && clock[n] < T -> d_step { write(n, 1, PUT) }
#define REMOVES(n)                                                                 \
    :: ops < OPS && clock[n] + GAP <= T -> d_step { write(n, GAP, DEAD) }
#define KEEPS(n)                                                                   \
    :: ent[n] != 0 && IS_DEAD(ent[n]) -> d_step { forget(n) }                      \
    :: ENDED(n, 2) && !SETTLED(n, 2) -> d_step { settle(n, 2) }                    \
    :: ENDED(n, 3) && !SETTLED(n, 3) -> d_step { settle(n, 3) }
#define TALKS(s, d)                                                                \
    :: MAY_TALK(s, d) -> d_step { round(s, d) }
/* Node 2 greets s; s serves it; s forgets it. */
#define KNOWS_OF(s)                                                                \
    :: about2[s] < 2 * life2 && (is_cold || !FORGOTTEN2(s)) -> d_step { learn(s, 2 * life2) } \
    :: FORGOTTEN2(s) && about2[s] > about2[2] && life2 < LIVES - 1 -> d_step { start_cold(); out = true } \
    :: is_cold && snap_from == N && ALL_KNOW(s) -> d_step { take_snapshot(s) }

#ifdef DEADLINE
#define DEAD EXPIRING
#else
#define DEAD REMOVE
#endif
#ifdef JOINER_LATE
#define ALL_KNOW(s) (about2[s] == 2 * life2)
#else
#define ALL_KNOW(s) (about2[0] == 2 * life2 && about2[1] == 2 * life2)
#endif

init {
    d_step { about2[0] = 4; about2[1] = 4; about2[2] = 4 }
    do
    PUTS(1) PUTS(2) REMOVES(0)
    KEEPS(0) KEEPS(1) KEEPS(2)
    TALKS(0, 1) TALKS(1, 0) TALKS(0, 2) TALKS(2, 0) TALKS(1, 2) TALKS(2, 1)
    KNOWS_OF(0) KNOWS_OF(1)
    :: snap_from != N -> d_step { install() }
#ifdef LATE
    :: MAY_TALK(1, 0) && late == 0 -> d_step { send_late(1, 0) }
    :: MAY_TALK(2, 0) && late == 0 -> d_step { send_late(2, 0) }
    :: late != 0 -> d_step { arrive_late(0) }
#endif
#ifdef AWAY
    :: about2[0] == 2 * life2 && life2 == 2 -> d_step { learn(0, 2 * life2 + 1) }
#endif
#ifdef FALLS
    :: !fell && life2 < LIVES - 1 -> d_step { fall() }
#endif
#ifdef OLD_DISK
    :: !disk_is && !fell -> d_step { back_up() }
    :: !fell && disk_is && life2 < LIVES - 1 -> d_step { restore() }
#endif
#ifdef DEADLINE
    :: !expired -> d_step { expired = true }
#endif
    od
}
