/*
 * A snapshot's transfer: node A writes two keys, B follows it, and C, which was away and is below the floor, gets a snapshot of
 * A or B in chunks of one key while A goes on writing. It may begin anew at any time, from either, also after it was
 * installed; a chunk of an earlier one may still come. Deltas follow.
 *
 * All dots are of A's life, (ts, dead). done[ts] is a ghost: what A did at ts. For each key and mark there is one dot that
 * should be known, the newest up to the mark; what must hold in every state at C, and at B alike:
 *
 *   covered   what the mark claims is there, or is dead and forgotten, or was replaced by something newer
 *   dead      what is there up to the mark is that dot and nothing older; so with A's mark, C reads what A reads
 *
 * Controls (-D), each of which must fail: FIRST_CHUNK takes the marks with the first chunk; END_MARKS takes those of the
 * source's end; JOINING joins with what is there; MIXED goes on with another source where the first stopped; BY_CHUNK
 * installs each chunk as it comes; ONE_STAGE takes a chunk of an earlier snapshot; NO_FLOOR sends a delta to who is below
 * the floor; NO_PIN forgets beyond the start marks of a snapshot that is on its way.
 */
#ifndef T
#define T 5 /* of which the first two were before */
#endif
#define KEYS 2
#define A 0
#define B 1
#define C 2

#define DOT(ts, dead) ((ts) * 2 + (dead))
#define TS(dot) ((dot) >> 1)
#define DEAD(dot) ((dot) & 1)
#define MAX(a, b) (((a) > (b)) * (a) + ((a) <= (b)) * (b))
#define MIN(a, b) (((a) < (b)) * (a) + ((a) >= (b)) * (b))

typedef keys {
    byte at[KEYS]
}

keys have[3];
byte mark[3], lowest[3], clock;
byte done[T + 1]; /* by ts: 1 + key * 2 + dead */

/* The snapshot that comes in: its source, its next chunk, the source's mark and floor at its start. */
keys stage;
byte chunk, start_mark, start_lowest;
bool from_b, is_coming;
byte late_key, late_dot; /* a chunk of an earlier one */
bool is_late;

hidden byte i, j, t, want;

inline check() {
    i = B;
    do
    :: i <= C ->
        j = 0;
        do
        :: j < KEYS ->
            want = 0;
            t = 1;
            do
            :: t <= clock && t <= mark[i] ->
                if
                :: done[t] > 0 && (done[t] - 1) / 2 == j -> want = DOT(t, (done[t] - 1) & 1)
                :: else
                fi;
                t++
            :: else -> break
            od;
            assert(have[i].at[j] >= want || (DEAD(want) && have[i].at[j] == 0));
            assert(TS(have[i].at[j]) > mark[i] || have[i].at[j] == want || have[i].at[j] == 0);
            j++
        :: else -> break
        od;
        i++
    :: else -> break
    od;
    i = 0; j = 0; t = 0; want = 0
}

inline write(key, dead) {
    printf("write %d dead %d at %d\n", key, dead, clock + 1);
    clock++;
    done[clock] = 1 + key * 2 + dead;
    have[A].at[key] = DOT(clock, dead);
    mark[A] = clock;
    check()
}

inline delta(s, d) {
    printf("delta %d > %d\n", s, d);
    i = 0;
    do
    :: i < KEYS ->
        if
        :: TS(have[s].at[i]) > mark[d] -> have[d].at[i] = MAX(have[d].at[i], have[s].at[i])
        :: else
        fi;
        i++
    :: else -> break
    od;
    mark[d] = MAX(mark[d], mark[s]);
    check()
}

/* C is a member: what it does not claim is kept by all, and what the snapshot does not, that is on its way to it. */
inline forget(n, key) {
    printf("node %d forgets %d\n", n, key);
    lowest[n] = MAX(lowest[n], TS(have[n].at[key]));
    have[n].at[key] = 0;
    check()
}
#ifdef NO_PIN
#define PINNED T
#else
#define PINNED (is_coming * start_mark + (1 - is_coming) * T)
#endif
#define STABLE MIN(MIN(mark[A], mark[B]), MIN(mark[C], PINNED))

inline begin(source_is_b) {
    printf("snapshot, of b: %d\n", source_is_b);
    if
    :: is_coming && chunk > 0 && !is_late -> is_late = true; late_key = chunk - 1; late_dot = stage.at[chunk - 1]
    :: else
    fi;
    is_coming = true;
    from_b = source_is_b;
    chunk = 0;
    start_mark = mark[source_is_b];
    start_lowest = lowest[source_is_b];
    i = 0;
    do
    :: i < KEYS -> stage.at[i] = 0; i++
    :: else -> break
    od;
    i = 0
}

/* What C has of a key, with what the snapshot has of it. */
inline replace(key) {
#ifndef JOINING
    if
    :: TS(have[C].at[key]) <= start_mark -> have[C].at[key] = 0
    :: else
    fi;
#endif
    have[C].at[key] = MAX(have[C].at[key], stage.at[key])
}

inline next_chunk() {
    printf("chunk %d\n", chunk);
    stage.at[chunk] = have[from_b].at[chunk];
#ifdef FIRST_CHUNK
    mark[C] = start_mark;
#endif
#ifdef BY_CHUNK
    replace(chunk);
    mark[C] = MIN(mark[C], start_mark);
#endif
    chunk++;
    check()
}

inline install() {
    printf("install\n");
    i = 0;
    do
    :: i < KEYS -> replace(i); i++
    :: else -> break
    od;
#ifdef END_MARKS
    mark[C] = mark[from_b];
#else
    mark[C] = start_mark;
#endif
    lowest[C] = start_lowest;
    is_coming = false; from_b = false; chunk = 0; start_mark = 0; start_lowest = 0;
    i = 0;
    do
    :: i < KEYS -> stage.at[i] = 0; i++
    :: else -> break
    od;
    check()
}

inline arrive_late() {
    printf("a chunk of an earlier snapshot\n");
#ifdef ONE_STAGE
    if
    :: is_coming -> stage.at[late_key] = late_dot; chunk = MAX(chunk, late_key + 1)
    :: else
    fi;
#endif
    is_late = false; late_key = 0; late_dot = 0
}

#ifdef NO_FLOOR
#define MAY_DELTA(s, d) true
#else
#define MAY_DELTA(s, d) (mark[d] >= lowest[s] && mark[s] >= lowest[d])
#endif
#define WRITES(key)                                     \
    :: clock < T -> d_step { write(key, 0) }            \
    :: clock < T -> d_step { write(key, 1) }
#define FORGETS(n, key)                                 \
    :: DEAD(have[n].at[key]) && TS(have[n].at[key]) <= STABLE -> d_step { forget(n, key) }

init {
    /* Before: a PUT of key 0 that C has, then a REMOVE that was forgotten while C was none of the members. */
    d_step {
        done[1] = 1;
        done[2] = 2;
        clock = 2;
        mark[A] = 2; mark[B] = 2; mark[C] = 1;
        lowest[A] = 2; lowest[B] = 2;
        have[C].at[0] = DOT(1, 0)
    }
    do
    WRITES(0) WRITES(1)
    FORGETS(A, 0) FORGETS(A, 1) FORGETS(B, 0) FORGETS(B, 1) FORGETS(C, 0) FORGETS(C, 1)
    :: MAY_DELTA(A, B) && mark[B] < mark[A] -> d_step { delta(A, B) }
    :: MAY_DELTA(A, C) && mark[C] < mark[A] -> d_step { delta(A, C) }
    :: MAY_DELTA(B, C) && mark[C] < mark[B] -> d_step { delta(B, C) }
    :: d_step { begin(A) }
    :: d_step { begin(B) }
    :: is_coming && chunk < KEYS -> d_step { next_chunk() }
    :: is_coming && chunk == KEYS -> d_step { install() }
    :: is_late -> d_step { arrive_late() }
#ifdef MIXED
    :: is_coming && chunk > 0 -> d_step { from_b = !from_b }
#endif
    od
}
