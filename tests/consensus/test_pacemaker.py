"""The pacemaker: when a view is given up, how waiting grows and shrinks, who counts as silent."""

from __future__ import annotations

from consensus.pacemaker import Pacemaker
from consensus.types import ValidatorIndex, View, VoteKind
from tests.consensus.toys import committee_of

COMMITTEE = committee_of(4, delta_ms=150, delta_factor_max=8)


def delta(view: int, finalized: int) -> int:
    return Pacemaker(COMMITTEE).delta_ms(View(view), View(finalized))


def test_delta_doubles_every_three_views_without_finality_up_to_its_cap() -> None:
    assert [delta(view, 0) for view in range(1, 12)] == [150, 150, 150, 300, 300, 300, 600, 600, 600, 1200, 1200]
    assert delta(10**9, 0) == 1200


def test_delta_is_reset_by_a_finalization_and_depends_on_the_distance_only() -> None:
    assert delta(101, 100) == 150
    assert [delta(v + 500, 500) for v in range(1, 12)] == [delta(v, 0) for v in range(1, 12)]


def test_no_timer_runs_while_nothing_is_at_stake() -> None:
    pacemaker = Pacemaker(COMMITTEE)
    pacemaker.start(1000)
    assert pacemaker.give_up_ms(150, proposed=False, silent=False) is None
    assert pacemaker.resend_ms(150) is None
    pacemaker.set_active(True, 5000)
    assert pacemaker.give_up_ms(150, proposed=False, silent=False) == 5000 + 3 * 150
    assert pacemaker.give_up_ms(150, proposed=True, silent=False) == 5000 + 5 * 150
    assert pacemaker.give_up_ms(150, proposed=False, silent=True) == 5000
    pacemaker.set_active(False, 5100)
    assert pacemaker.give_up_ms(150, proposed=False, silent=False) is None


def test_repetitions_grow_rarer_up_to_a_bound() -> None:
    pacemaker = Pacemaker(COMMITTEE)
    pacemaker.set_active(True, 0)
    gaps, now = [], 0
    for _ in range(6):
        due = pacemaker.resend_ms(150)
        assert due is not None
        gaps.append(due - now)
        now = due
        pacemaker.resent(now)
    assert gaps == [300, 600, 1200, 2400, 2400, 2400]


def test_a_leader_silent_for_n_views_is_skipped_if_a_quorum_is_there() -> None:
    pacemaker = Pacemaker(COMMITTEE)
    silent = ValidatorIndex(3)
    for view in (1, 10):
        for voter in (0, 1, 2):
            pacemaker.hear(ValidatorIndex(voter), View(view))
    pacemaker.hear(silent, View(5))
    assert not pacemaker.is_silent(silent, View(9))
    assert pacemaker.is_silent(silent, View(10))
    assert not pacemaker.is_silent(ValidatorIndex(0), View(10))
    pacemaker.hear(silent, View(10))
    assert not pacemaker.is_silent(silent, View(10))


def test_nobody_is_skipped_where_a_quorum_was_not_heard() -> None:
    pacemaker = Pacemaker(COMMITTEE)
    pacemaker.hear(ValidatorIndex(0), View(10))
    assert not pacemaker.is_silent(ValidatorIndex(3), View(10))


def test_a_stalled_process_gets_its_time_back_once_a_view() -> None:
    pacemaker = Pacemaker(COMMITTEE)
    pacemaker.set_active(True, 0)
    pacemaker.forgive_stall(20, 470)
    assert pacemaker.give_up_ms(150, proposed=False, silent=False) == 450
    pacemaker.forgive_stall(200, 650)
    assert pacemaker.give_up_ms(150, proposed=False, silent=False) == 450 + 200 + 50
    pacemaker.forgive_stall(200, 900)
    assert pacemaker.give_up_ms(150, proposed=False, silent=False) == 700


def test_a_vote_is_news_where_it_shows_its_validator_further_on() -> None:
    pacemaker = Pacemaker(COMMITTEE)
    assert pacemaker.hear(ValidatorIndex(1), View(5), VoteKind.NOTARIZE)
    assert not pacemaker.hear(ValidatorIndex(1), View(5), VoteKind.NULLIFY)
    assert not pacemaker.hear(ValidatorIndex(1), View(4))
    assert pacemaker.last_votes[1] is VoteKind.NULLIFY
    assert pacemaker.hear(ValidatorIndex(1), View(6))
    assert pacemaker.ahead(View(5)) == (1,)
