/* The voting rules of Simplex as Stretto follows them (consensus/voting.py, design D4), for Spin.

   Four validators, three honest and one Byzantine, VIEWS views, two blocks (A and B) in each. What is modelled is who
   has voted what. Three things make it small without losing a behaviour:

   - Votes are sets that only grow; there are no message queues. No rule asks that something has NOT arrived, so a
     message lost or late is the same as a validator that does not act yet, and Spin lets anybody wait for ever.
   - The Byzantine validator's vote is in every set from the start: for both blocks, for nullify and for finalize. It
     may send any vote to anybody; withholding one is, again, an honest validator that does not act on it.
   - Any two blocks may be proposed in any view, with any parents, true or not. So every leader is as bad as can be, and
     who leads plays no part. A block's parent is fixed when the first honest validator votes for it: nothing can
     depend on it before. Three blocks would add nothing, since only one can gain two honest votes of three; and the
     first one voted for in a view may be called A.

   Flags: VIEWS; ANY_ORDER lets an honest validator vote in any view at any time, as one might that restarts and knows
   its votes, but not its view. IN_TURN (with ANY_ORDER) searches fewer schedules: all vote in view 1, then all in view
   2, and a turn ends when every honest validator has notarized something and has nullified or finalized. It hides
   nothing: (1) what one votes in a view depends on own votes of that view, on certificates of it, and on there being
   certificates of lower views, so any schedule can be sorted by view; (2) the votes that lack at the end of a turn can
   be put in where they hinder nobody, a notarize (for the block others voted for first, or one on the view before)
   before one's own nullify, a nullify at the end; (3) more votes never mend what is broken.

   The mutants, each a rule left out: QUORUM_LESS_ONE, TWO_BYZANTINE, DOUBLE_NOTARIZE, NO_PARENT_CHECK,
   NO_NULLIFICATION_CHECK, FINALIZE_AFTER_NULLIFY, NULLIFY_AFTER_FINALIZE, FINALIZE_UNSEEN; and NOTARIZE_AFTER_NULLIFY,
   which is harmless. WITNESS=1..3 claims that something good cannot happen, to see that it can. */

#ifndef VIEWS
#define VIEWS 3
#endif

#ifdef QUORUM_LESS_ONE
#define QUORUM 2
#else
#define QUORUM 3
#endif

#ifdef TWO_BYZANTINE
#define BYZANTINE 2
#else
#define BYZANTINE 1
#endif
#define HONEST (4 - BYZANTINE)

/* Blocks are numbered: 0 is the genesis block, then A and B of view 1, A and B of view 2, ... */
#define GENESIS 0
#define A(v) (2 * (v) - 1)
#define B(v) (2 * (v))
#define VIEW(b) (((b) + 1) / 2)
#define BLOCKS (2 * VIEWS + 1)

/* A ballot is what one honest validator has voted in one view; votes are never taken back. */
#define NOTARIZES(b) (1 << ((b) & 1)) /* 2 for A, 1 for B */
#define NULLIFIES 4
#define FINALIZES(b) (8 << ((b) & 1))
byte ballots[3 * VIEWS];
byte parent[2 * VIEWS + 1]; /* of a block, once an honest validator voted for it */
#ifdef IN_TURN
byte turn = 1; /* the view in which all vote */
#endif
byte view[3] = 1; /* the view in which a validator last acted: it never acts in a lower one */

/* ---- certificates ------------------------------------------------------------------------------------------------ */

#define BALLOT(v, who) ballots[3 * ((v) - 1) + (who)]
#define HAS(v, who, vote) ((BALLOT(v, who) & (vote)) != 0)
#define VOTERS(v, vote) (HAS(v, 0, vote) + HAS(v, 1, vote) + HAS(v, 2, vote))
#define CERTIFICATE(v, vote) (VOTERS(v, vote) + BYZANTINE >= QUORUM)
#define NOTARIZED(b) CERTIFICATE(VIEW(b), NOTARIZES(b))
#define FINAL(b) CERTIFICATE(VIEW(b), FINALIZES(b))
#define NULLIFIED(v) CERTIFICATE(v, NULLIFIES)
#define CERTIFIED(b) (NOTARIZED(b) || FINAL(b)) /* a finalization stands for the notarization */
#define ENDED(v) (CERTIFIED(A(v)) || CERTIFIED(B(v)) || NULLIFIED(v))

/* ---- the rules --------------------------------------------------------------------------------------------------- */

#define VOTED(v, vote) HAS(v, _pid, vote)
#define KNOWN(b) (VOTERS(VIEW(b), NOTARIZES(b)) > 0)

/* Rule 1: enter a view on a certificate of the one before, and never go back. */
#ifdef IN_TURN
#define IN(v) (turn == (v))
#elif defined(ANY_ORDER)
#define IN(v) true
#else
#define IN(v) (view[_pid] <= (v) && ((v) == 1 || ENDED((v) - 1)))
#endif

/* Rule 2, checked by every voter: the parent is notarized, and every view between is nullified. */
#ifdef NO_PARENT_CHECK
#define PARENT_HELD(p) true
#else
#define PARENT_HELD(p) ((p) == GENESIS || CERTIFIED(p))
#endif
#ifdef NO_NULLIFICATION_CHECK
#define BETWEEN_HELD(p, b) true
#else
#define SKIPPED(v, p, b) ((v) <= VIEW(p) || (v) >= VIEW(b) || NULLIFIED(v))
#if VIEWS == 2
#define BETWEEN_HELD(p, b) SKIPPED(1, p, b)
#elif VIEWS == 3
#define BETWEEN_HELD(p, b) (SKIPPED(1, p, b) && SKIPPED(2, p, b))
#else
#define BETWEEN_HELD(p, b) (SKIPPED(1, p, b) && SKIPPED(2, p, b) && SKIPPED(3, p, b))
#endif
#endif

/* Rule 3: notarize at most one block in a view, and none once the view was nullified. */
#ifdef DOUBLE_NOTARIZE
#define NOTARIZED_NONE(v) true
#else
#define NOTARIZED_NONE(v) (!VOTED(v, NOTARIZES(A(v)) | NOTARIZES(B(v))))
#endif
#ifdef NOTARIZE_AFTER_NULLIFY
#define NULLIFY_PERMITS_NOTARIZE(v) true
#else
#define NULLIFY_PERMITS_NOTARIZE(v) (!VOTED(v, NULLIFIES))
#endif
#define NAMED(b, p) ((KNOWN(b) && parent[b] == (p)) || (!KNOWN(b) && ((b) == A(VIEW(b)) || KNOWN(A(VIEW(b))))))
#define MAY_NOTARIZE(b, p)                                                                                             \
    (IN(VIEW(b)) && !VOTED(VIEW(b), NOTARIZES(b)) && NOTARIZED_NONE(VIEW(b)) && NULLIFY_PERMITS_NOTARIZE(VIEW(b)) &&   \
     NAMED(b, p) && PARENT_HELD(p) && BETWEEN_HELD(p, b))

/* Rule 4: nullify the view one is in (that the timer ran out may happen at any time), unless it was voted final. */
#ifdef NULLIFY_AFTER_FINALIZE
#define FINALIZE_PERMITS_NULLIFY(v) true
#else
#define FINALIZE_PERMITS_NULLIFY(v) (!VOTED(v, FINALIZES(A(v)) | FINALIZES(B(v))))
#endif
#define MAY_NULLIFY(v) (IN(v) && !VOTED(v, NULLIFIES) && FINALIZE_PERMITS_NULLIFY(v))

/* Rule 5: finalize what is notarized, in any view, unless it was nullified here. */
#ifdef IN_TURN
#define TURN_OF(v) (turn == (v))
#else
#define TURN_OF(v) true
#endif
#ifdef FINALIZE_UNSEEN
#define SEEN_NOTARIZED(b) true
#else
#define SEEN_NOTARIZED(b) NOTARIZED(b)
#endif
#ifdef FINALIZE_AFTER_NULLIFY
#define NULLIFY_PERMITS_FINALIZE(v) true
#else
#define NULLIFY_PERMITS_FINALIZE(v) (!VOTED(v, NULLIFIES))
#endif
#define MAY_FINALIZE(b)                                                                                                \
    (TURN_OF(VIEW(b)) && SEEN_NOTARIZED(b) && !VOTED(VIEW(b), FINALIZES(A(VIEW(b))) | FINALIZES(B(VIEW(b)))) &&        \
     NULLIFY_PERMITS_FINALIZE(VIEW(b)))

/* ---- what an honest validator may do at any time; it may also wait for ever ------------------------------------- */

#ifdef ANY_ORDER
#define ACT_IN(v) skip
#else
#define ACT_IN(v) view[_pid] = (view[_pid] > (v) -> view[_pid] : (v))
#endif

#define CAST(v, vote) BALLOT(v, _pid) = BALLOT(v, _pid) | (vote)

/* In any order, what a validator voted in one view says nothing of what it does in another, so within a view it does
   not matter which of the three cast which ballot: keep them sorted. Traces, which name validators, do not. */
#ifdef SORTED
#define SWAP(a, b) a = a ^ b; b = a ^ b; a = a ^ b
#define ORDER(v, x, y) if :: BALLOT(v, x) > BALLOT(v, y) -> SWAP(BALLOT(v, x), BALLOT(v, y)) :: else fi
#define SORT(v) ORDER(v, 0, 1); ORDER(v, 1, 2); ORDER(v, 0, 1)
#else
#define SORT(v) skip
#endif

#define NOTARIZE(b, p)                                                                                                 \
    :: d_step {                                                                                                        \
        MAY_NOTARIZE(b, p);                                                                                            \
        CAST(VIEW(b), NOTARIZES(b));                                                                                   \
        parent[b] = p;                                                                                                 \
        ACT_IN(VIEW(b));                                                                                               \
        printf("@ notarize %d %d %d\n", _pid, b, p);                                                                   \
        SORT(VIEW(b))                                                                                                  \
    }
#define NULLIFY(v)                                                                                                     \
    :: d_step {                                                                                                        \
        MAY_NULLIFY(v);                                                                                                \
        CAST(v, NULLIFIES);                                                                                            \
        ACT_IN(v);                                                                                                     \
        printf("@ nullify %d %d\n", _pid, v);                                                                          \
        SORT(v)                                                                                                        \
    }
#define FINALIZE(b) /* a notarization ends its view */                                                                 \
    :: d_step {                                                                                                        \
        MAY_FINALIZE(b);                                                                                               \
        CAST(VIEW(b), FINALIZES(b));                                                                                   \
        ACT_IN(VIEW(b) + 1);                                                                                           \
        printf("@ finalize %d %d\n", _pid, b);                                                                         \
        SORT(VIEW(b))                                                                                                  \
    }

#ifdef IN_TURN
#define LEAVES(v) (NULLIFIES | FINALIZES(A(v)) | FINALIZES(B(v)))
#define DONE(v, who) (HAS(v, who, NOTARIZES(A(v)) | NOTARIZES(B(v))) && HAS(v, who, LEAVES(v)))
#define NEXT_TURN                                                                                                      \
    :: d_step {                                                                                                        \
        _pid == 0 && turn < VIEWS && DONE(turn, 0) && DONE(turn, 1) && DONE(turn, 2);                                  \
        turn = turn + 1                                                                                                \
    }
#else
#define NEXT_TURN
#endif

#define ON_VIEW_0(b) NOTARIZE(b, GENESIS)
#define ON_VIEW_1(b) ON_VIEW_0(b) NOTARIZE(b, A(1)) NOTARIZE(b, B(1))
#define ON_VIEW_2(b) ON_VIEW_1(b) NOTARIZE(b, A(2)) NOTARIZE(b, B(2))
#define ON_VIEW_3(b) ON_VIEW_2(b) NOTARIZE(b, A(3)) NOTARIZE(b, B(3))

/* ---- what must hold ---------------------------------------------------------------------------------------------- */

/* Lemma 1, one notarization per view. Lemma 2, a finalization excludes a nullification of its view. */
#define ONE_NOTARIZATION(v) (!(NOTARIZED(A(v)) && NOTARIZED(B(v))))
#define FINAL_OR_NULL(v) (!((FINAL(A(v)) || FINAL(B(v))) && NULLIFIED(v)))

/* Lemma 3, every block notarized above a final one descends from it. Agreement, any two final blocks are on one chain.
   The genesis block is its own parent, so as many steps up as there are views reach every ancestor. */
#define UP1(b) (parent[b])
#define UP2(b) (parent[parent[b]])
#define UP3(b) (parent[parent[parent[b]]])
#define DESCENDS(b, a) (UP1(b) == (a) || UP2(b) == (a) || UP3(b) == (a))
#define EXTENDS(b, a) (!(FINAL(a) && NOTARIZED(b)) || DESCENDS(b, a))
#define AGREES(b, a) (!(FINAL(a) && FINAL(b)) || DESCENDS(b, a))
#define PAIRS(claim, w, v) (claim(A(w), A(v)) && claim(A(w), B(v)) && claim(B(w), A(v)) && claim(B(w), B(v)))
#define ONE_FINAL(v) (!(FINAL(A(v)) && FINAL(B(v))))

#define LEMMA_1_IN_2 (ONE_NOTARIZATION(1) && ONE_NOTARIZATION(2))
#define LEMMA_2_IN_2 (FINAL_OR_NULL(1) && FINAL_OR_NULL(2))
#define CHAIN_IN_2(claim) (PAIRS(claim, 2, 1))
#define CHAIN_IN_3(claim) (CHAIN_IN_2(claim) && PAIRS(claim, 3, 1) && PAIRS(claim, 3, 2))
#define CHAIN_IN_4(claim) (CHAIN_IN_3(claim) && PAIRS(claim, 4, 1) && PAIRS(claim, 4, 2) && PAIRS(claim, 4, 3))
#if VIEWS == 2
#define LEMMA_1 LEMMA_1_IN_2
#define LEMMA_2 LEMMA_2_IN_2
#define LEMMA_3 CHAIN_IN_2(EXTENDS)
#define AGREEMENT (CHAIN_IN_2(AGREES) && ONE_FINAL(1) && ONE_FINAL(2))
#elif VIEWS == 3
#define LEMMA_1 (LEMMA_1_IN_2 && ONE_NOTARIZATION(3))
#define LEMMA_2 (LEMMA_2_IN_2 && FINAL_OR_NULL(3))
#define LEMMA_3 CHAIN_IN_3(EXTENDS)
#define AGREEMENT (CHAIN_IN_3(AGREES) && ONE_FINAL(1) && ONE_FINAL(2) && ONE_FINAL(3))
#else
#define LEMMA_1 (LEMMA_1_IN_2 && ONE_NOTARIZATION(3) && ONE_NOTARIZATION(4))
#define LEMMA_2 (LEMMA_2_IN_2 && FINAL_OR_NULL(3) && FINAL_OR_NULL(4))
#define LEMMA_3 CHAIN_IN_4(EXTENDS)
#define AGREEMENT (CHAIN_IN_4(AGREES) && ONE_FINAL(1) && ONE_FINAL(2) && ONE_FINAL(3) && ONE_FINAL(4))
#endif

/* What must be possible, or the rest would hold of rules under which nothing happens. */
#ifndef WITNESS
#elif WITNESS == 1 /* every view final, each block on the one before */
#define HOLDS (!(FINAL(A(1)) && FINAL(A(2)) && FINAL(A(3)) && parent[A(3)] == A(2) && parent[A(2)] == A(1)))
#elif WITNESS == 2 /* a final block over a nullified view */
#define HOLDS (!(FINAL(A(3)) && parent[A(3)] == A(1)))
#elif WITNESS == 3 /* a view both notarized and nullified, and a final block which builds on that notarization */
#define HOLDS (!(NULLIFIED(1) && NOTARIZED(A(1)) && FINAL(A(2)) && parent[A(2)] == A(1)))
#endif

active [HONEST] proctype Validator()
{
end:
    do
    :: atomic {
        if
        NEXT_TURN
        ON_VIEW_0(A(1)) ON_VIEW_0(B(1)) NULLIFY(1) FINALIZE(A(1)) FINALIZE(B(1))
        ON_VIEW_1(A(2)) ON_VIEW_1(B(2)) NULLIFY(2) FINALIZE(A(2)) FINALIZE(B(2))
#if VIEWS >= 3
        ON_VIEW_2(A(3)) ON_VIEW_2(B(3)) NULLIFY(3) FINALIZE(A(3)) FINALIZE(B(3))
#endif
#if VIEWS >= 4
        ON_VIEW_3(A(4)) ON_VIEW_3(B(4)) NULLIFY(4) FINALIZE(A(4)) FINALIZE(B(4))
#endif
        fi;
#ifdef WITNESS
        assert(HOLDS)
#else
        if
        :: !(LEMMA_1) -> printf("@ broken 1\n"); assert(false)
        :: !(LEMMA_2) -> printf("@ broken 2\n"); assert(false)
        :: !(LEMMA_3) -> printf("@ broken 3\n"); assert(false)
        :: !(AGREEMENT) -> printf("@ broken 4\n"); assert(false)
        :: else
        fi
#endif
    }
    od
}
