"""The scenes. What a scene's function says of it stands at the head of its transcript."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from consensus.messages import Message, Proposal
from consensus.types import Certificate, SignedVote, View, VoteKind, nullify
from tests.consensus.toys import payload, vote_for
from tests.scenarios.assembly import Assembly
from tests.scenarios.stage import COURT, LABEL, PLATFORM, SOCIETY, START_MS, Stage

HEADER = """\
Four validators; label leads view 1, court view 2, society view 3, platform view 4, label view 5 and so on. A quorum is
three. delta is 150 ms, a message takes 10 ms. Written by the engine itself (tests/scenarios); do not edit.
"""
ASSEMBLY_HEADER = """\
Four validators and an observer, the archive; label leads view 1, court view 2. delta is 40 ms, a message takes 10 ms.
Written by the engine itself (tests/scenarios); do not edit.
"""


def happy_path() -> Stage:
    """Two payloads become final

    The label orders a payload in the view it leads. Three message delays later the block is final everywhere: proposal,
    notarize votes, finalize votes. A notarization is enough to enter the next view, so nobody waits for finality. The
    second payload enters at a validator that does not lead; whoever leads then orders it.
    """
    stage = Stage()
    stage.order(0, LABEL, 1)
    stage.order(300, PLATFORM, 2)
    stage.until(2_000)
    return stage


def dead_leader() -> Stage:
    """The leader is dead

    The label never started. When a payload waits to be ordered, the others give its leader 3 delta from the moment they
    held the payload; then they nullify view 1, and the court, leading view 2, builds on the genesis block: the
    nullification of view 1 is what permits it to skip that view.
    """
    stage = Stage(absent=LABEL)
    stage.order(0, COURT, 1)
    stage.until(2_000)
    return stage


def late_proposal() -> Stage:
    """A proposal that comes after the nullify

    The label's proposal comes 455 ms late. The others have just nullified view 1 when it arrives, so they do not
    vote for it: after its own nullify a validator notarizes nothing more in that view, and above all finalizes nothing.
    The court orders the payload instead, and the label, which entered view 2 on the nullification, votes for that.
    """
    stage = Stage()

    def fate(sender: str, _: str, message: Message) -> int:
        return 455 if sender == LABEL and isinstance(message, Proposal) and message.block.view == 1 else 0

    stage.fate = fate
    stage.order(0, LABEL, 1)
    stage.until(2_000)
    return stage


def equivocating_leader() -> Stage:
    """The leader proposes two blocks

    The label is Byzantine: it signs block A for the court and the society, block B for the platform. Each votes for the
    first it saw. Only A can gain a quorum, because no honest validator votes twice: at most one block of a view is
    ever notarized. The platform learns of A by its notarization, in which the label's other signature stands.
    """
    stage = Stage(puppet=LABEL)
    one = stage.block(LABEL, 1, stage.genesis, (payload(1),), time_ms=20)
    other = stage.block(LABEL, 1, stage.genesis, (), time_ms=20)
    stage.order(0, COURT, 1)
    stage.say(20, LABEL, (COURT, SOCIETY), stage.proposal(one))
    stage.say(20, LABEL, (PLATFORM,), stage.proposal(other))
    stage.until(4_000)
    return stage


def missing_nullification() -> Stage:
    """A nullification is missing, and fetched

    The court is Byzantine. In view 1 it lets the platform alone see block A notarized and helps the others to nullify
    the view, while the platform can neither be heard nor hear of that. In view 2 the court proposes block B on the
    genesis block and leaves out the nullification of view 1. The platform, in view 2 by the notarization of A, cannot
    know that skipping view 1 is permitted: it does not vote, and asks the court, which stays silent, then the next one,
    who answers. Only then it votes for B.

    That A was notarized and came to nothing is no harm: with view 1 nullified it could never become final.
    """
    stage = Stage(puppet=COURT)
    one = stage.block(LABEL, 1, stage.genesis, (payload(1),), time_ms=0)
    other = stage.block(COURT, 2, stage.genesis, (payload(1),), time_ms=770)

    def fate(sender: str, to: str, message: Message) -> int | None:
        if stage.now_ms >= START_MS + 1_070:
            return 0
        nullifies = isinstance(message, SignedVote) and message.vote.kind is VoteKind.NULLIFY
        unheard = sender == PLATFORM and to != COURT
        deaf = to == PLATFORM and (nullifies or isinstance(message, Certificate))
        unseen = to == SOCIETY and isinstance(message, Proposal) and message.block.view == 1
        return None if unheard or deaf or unseen else 0

    stage.fate = fate
    stage.order(0, LABEL, 1)
    stage.say(720, COURT, (PLATFORM,), stage.vote(COURT, vote_for(VoteKind.NOTARIZE, one)))
    stage.say(460, COURT, (LABEL, SOCIETY), stage.vote(COURT, nullify(stage.committee.epoch, View(1))))
    stage.say(770, COURT, (SOCIETY, PLATFORM), stage.proposal(other))
    stage.until(4_000)
    return stage


def restart_after_vote() -> Stage:
    """Killed between the disk and the wire

    The court writes down its vote for block A and is killed before anybody hears of it. The label, Byzantine, then
    shows block B of the same view to all. The court comes back, finds its vote on disk and says that one, not another:
    what was persisted stands, said or not. It votes to finalize B once B is notarized, which contradicts nothing:
    to notarize A was a promise to notarize no other block of the view, and it keeps that.
    """
    stage = Stage(puppet=LABEL)
    one = stage.block(LABEL, 1, stage.genesis, (payload(1),), time_ms=20)
    other = stage.block(LABEL, 1, stage.genesis, (), time_ms=20)
    stage.kill_at_sign = COURT
    stage.order(0, COURT, 1)
    stage.say(20, LABEL, (COURT,), stage.proposal(one))
    stage.restart(100, COURT)
    stage.say(150, LABEL, (COURT, SOCIETY, PLATFORM), stage.proposal(other))
    stage.until(4_000)
    return stage


def idle_chain() -> Stage:
    """An idle chain is quiet

    After the last payload is final, nobody says anything and no timer runs, until after ten minutes the heartbeat is
    due: an empty block, final like any other, which shows that the committee is still there. Here a second one follows,
    because the next leader may propose 20 ms after the first one's proposal, and that is 10 ms before it was final.
    """
    stage = Stage()
    stage.order(0, LABEL, 1)
    stage.until(700_000)
    return stage


def clocks_set_back() -> Stage:
    """All clocks are set back by an hour

    Block time never goes back: the next leader stamps its block 1 ms after the parent, and the others accept it though
    it lies an hour ahead of their clocks, because nobody could have stamped it earlier. Time creeps by 1 ms a block
    until the clocks have caught up; the chain does not halt.
    """
    stage = Stage()
    stage.order(0, LABEL, 1)
    stage.then(200, lambda: stage.set_clocks_back(3_600_000))
    stage.order(300, COURT, 2)
    stage.until(2_000)
    return stage


def change_of_committee() -> Stage:
    """A fifth validator is admitted

    The label orders a payload with three members' votes to give the archive a seat; three of four suffice. What they
    did is known once block A is final and executed, and until then nothing more may be ordered: the court, leading
    view 2, holds a claim and does not propose it. Then the change has passed, and it proposes the boundary: an empty
    block that names the new committee. Once that is final the epoch is over, and all five start the next one from it.
    The claim was in a payload of the old epoch; the court puts it into one of the new.

    The archive is an observer at first: it has no vote, and the others tell it what is final. Then it votes like them.
    A quorum of five is four.
    """
    stage = Assembly()
    stage.vote_to_admit_the_archive(0, LABEL, (LABEL, COURT, SOCIETY))
    stage.submit_claim(12, COURT, 1)
    stage.until(320)
    return stage


SCENES: dict[str, Callable[[], Stage]] = {
    scene.__name__: scene
    for scene in (
        happy_path, dead_leader, late_proposal, equivocating_leader, missing_nullification, restart_after_vote,
        idle_chain, clocks_set_back, change_of_committee,
    )
}  # fmt: skip


def play(name: str) -> str:
    """The whole document: title, what to see, who is who, what happened, how it ended."""
    scene = SCENES[name]
    title, _, text = inspect.cleandoc(scene.__doc__ or "").partition("\n\n")
    stage = scene()
    header = ASSEMBLY_HEADER if isinstance(stage, Assembly) else HEADER
    return f"{title}\n{'=' * len(title)}\n\n{text}\n\n{header}\n{stage.close()}"
