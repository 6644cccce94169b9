"""Broken nodes: the end of an epoch, what is voted on, what is valid, what goes on the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from unittest.mock import patch

from consensus import follower, voting
from consensus.ending import Ending, Outlook
from consensus.engine import Engine
from consensus.errors import InvalidBlock
from consensus.events import Restored
from consensus.payloads import Payloads
from consensus.state import State
from consensus.tree import Tree
from consensus.types import ZERO_DIGEST, Block
from ledger import apply, catalogue, derive, payload, rights, statement
from ledger.receipt import Reason
from tests.simulation import acquisition, machine
from tests.simulation.acquisition import Acquisition, Errand
from tests.simulation.mutation import Mutant, instead, nothing


def _sees(found: Outlook, taken_for: Outlook) -> AbstractContextManager[object]:
    """Where `found` is what may follow a block, something else is believed."""
    original = Ending.outlook

    def outlook(self: Ending, tree: Tree, payloads: Payloads, block: Block) -> Outlook:
        seen = original(self, tree, payloads, block)
        return taken_for if seen is found else seen

    return instead(Ending, "outlook", outlook)


def _permits(allow: object) -> AbstractContextManager[object]:
    """What `_epoch_permits` refuses for good is voted for where allow(state, block)."""
    original = voting._epoch_permits

    def permits(state: State, block: Block) -> bool:
        try:
            return original(state, block)
        except InvalidBlock:
            if allow(state, block):  # type: ignore[operator]
                return True
            raise

    return instead(voting, "_epoch_permits", permits)


def _outlook(state: State, block: Block) -> Outlook:
    return state.ending.outlook(state.tree, state.payloads, state.tree.blocks[block.parent])


def any_committee_is_voted_for() -> AbstractContextManager[object]:
    return _permits(lambda s, b: _outlook(s, b) is Outlook.DECIDED and b.is_boundary and not b.payloads)


def payloads_after_the_change() -> AbstractContextManager[object]:
    return _permits(lambda s, b: _outlook(s, b) is Outlook.DECIDED and not b.is_boundary)


def boundary_out_of_the_blue() -> AbstractContextManager[object]:
    return _permits(lambda s, b: _outlook(s, b) is Outlook.OPEN)


def payloads_above_the_boundary() -> AbstractContextManager[object]:
    return _permits(lambda s, b: _outlook(s, b) is Outlook.OVER)


def boundary_over_a_gap() -> AbstractContextManager[object]:
    """An ancestor that lacks is not waited for once a change has passed: it may be the boundary itself."""
    original = Ending.outlook

    def outlook(self: Ending, tree: Tree, payloads: Payloads, block: Block) -> Outlook:
        seen = original(self, tree, payloads, block)
        return Outlook.DECIDED if seen is Outlook.UNDECIDED and self.next_committee is not None else seen

    return instead(Ending, "outlook", outlook)


def execution_is_not_awaited() -> AbstractContextManager[object]:
    original = Ending.commit

    def commit(self: Ending, blocks: tuple[Block, ...], payloads: Payloads) -> bool:
        awaited = original(self, blocks, payloads)
        self.awaited = None
        return awaited

    return instead(Ending, "commit", commit)


def restart_forgets_the_change() -> AbstractContextManager[object]:
    original = Engine.__init__

    def init(self: Engine, *, restored: Restored, **others: object) -> None:
        original(self, restored=replace(restored, next_committee=ZERO_DIGEST), **others)  # type: ignore[arg-type]

    return instead(Engine, "__init__", init)


def quiet_while_the_epoch_ends() -> AbstractContextManager[object]:
    return instead(Ending, "is_pending", property(lambda _: False))


def engine_goes_on() -> AbstractContextManager[object]:
    return instead(Engine, "ended", property(lambda _: False))


def removed_node_goes_on() -> AbstractContextManager[object]:
    """Who lost its seat keeps its engine: here a node's mistake, in the seat of its old index."""
    return instead(machine.Machine, "index", property(lambda self: self.disk.terms[0].index(self.number)))


# ---- votes on members ------------------------------------------------------------------------------------------------


def votes_count_twice() -> AbstractContextManager[object]:
    """A member that signs for the same again has two votes."""
    original = apply._Assembly.cast

    def cast(self: apply._Assembly, voter: str, proposal: object, change: object, index: int) -> None:
        name = voter
        while name in self._state.voters_for(proposal):  # type: ignore[arg-type]
            name += "'"
        with patch.object(type(self._epoch), "validator_index", lambda *_: 0):
            original(self, name, proposal, change, index)  # type: ignore[arg-type]

    return instead(apply._Assembly, "cast", cast)


def one_vote_less_suffices() -> AbstractContextManager[object]:
    original = apply._Assembly.cast

    def cast(self: apply._Assembly, *rest: object) -> None:
        with patch.object(type(self._epoch), "quorum", property(lambda r: r.committee().quorum - 1)):
            original(self, *rest)  # type: ignore[arg-type]

    return instead(apply._Assembly, "cast", cast)


def observers_vote() -> AbstractContextManager[object]:
    """Who has no seat may vote on members."""
    original = statement.check_authority

    def check(each: statement.Statement, roster: object) -> object:
        with patch.dict(statement._KINDS, {k: _seatless(rule) for k, rule in statement._KINDS.items()}):
            return original(each, roster)  # type: ignore[arg-type]

    return instead(statement, "check_authority", check)


def _seatless(rule: statement._KindRule) -> statement._KindRule:
    return replace(rule, needs_seat=False)


# ---- rights ----------------------------------------------------------------------------------------------------------


def lapses_while_the_epoch_ends() -> AbstractContextManager[object]:
    """A stay lapses in the boundary, or before it."""
    return instead(apply.Overlay, "is_ending", False)


def an_overlay_forgets_rights() -> AbstractContextManager[object]:
    """Of blocks that are committed together, each sees rights as they were before the first."""
    original = apply.Overlay.extend

    def extend(self: apply.Overlay, applied: apply.Applied) -> None:
        original(self, replace(applied, rights=()))

    return instead(apply.Overlay, "extend", extend)


# ---- validity --------------------------------------------------------------------------------------------------------


@contextmanager
def bodies_are_waived() -> Iterator[None]:
    """A catalogue whose body nobody gives in a first round is taken for held."""
    original = Acquisition._ask

    def ask(self: Acquisition, errand: Errand, content: object) -> None:
        original(self, errand, content)  # type: ignore[arg-type]
        if errand.digest not in self._errands and errand.frame is not None:
            self._errands[errand.digest] = errand
            self._finish(errand)

    with instead(Acquisition, "_ask", ask), instead(acquisition, "ROUNDS_MAX", 1):
        yield


def _records(reason: Reason) -> AbstractContextManager[object]:
    """What is on record already in this sense is recorded again."""
    original = apply._earlier

    def earlier(state: apply.LedgerView, each: statement.Statement) -> tuple[Reason, int] | None:
        found = original(state, each)
        return None if found is not None and found[0] is reason else found

    return instead(apply, "_earlier", earlier)


def nothing_is_on_record() -> AbstractContextManager[object]:
    return instead(apply, "_earlier", nothing)


def _take_body(header: catalogue.CatalogueHeader, manifest: bytes, chunks: list[bytes]) -> object:
    """Whatever the chunks hold."""
    claims = catalogue._split(b"".join(chunks), header.count)
    return catalogue.CheckedBody.of(claims)


MEMBERSHIP: tuple[Mutant, ...] = (
    Mutant("votes_over_an_undecided_change", "10 E1", lambda: _sees(Outlook.UNDECIDED, Outlook.OPEN), "membership"),
    Mutant("governance_is_not_noticed", "10 E1", lambda: instead(machine, "is_ending", lambda _: False), "membership"),
    Mutant("execution_is_not_awaited", "10 E2", execution_is_not_awaited, "membership"),
    Mutant("any_committee_is_voted_for", "10 E3", any_committee_is_voted_for, "boundary"),
    Mutant("payloads_after_the_change", "10 E3", payloads_after_the_change, "boundary"),
    Mutant("boundary_out_of_the_blue", "10 E3", boundary_out_of_the_blue, "boundary"),
    Mutant("payloads_above_the_boundary", "10 E3", payloads_above_the_boundary, "boundary"),
    Mutant("boundary_over_a_gap", "10 E3", boundary_over_a_gap, "gap"),
    Mutant("quiet_while_the_epoch_ends", "10 E4", quiet_while_the_epoch_ends, "desertion"),
    Mutant("engine_goes_on", "10 E5", engine_goes_on, "membership"),
    Mutant("restart_forgets_the_change", "10", restart_forgets_the_change, "restarts"),
    Mutant("removed_node_goes_on", "10", removed_node_goes_on, "membership"),
    Mutant("one_vote_less_suffices", "10", one_vote_less_suffices, "membership"),
    Mutant("votes_count_twice", "10", votes_count_twice, "membership"),
    Mutant("observers_vote", "10", observers_vote, "payloads"),
    Mutant("any_number_of_seats_changes", "10", lambda: instead(apply, "check_seats", nothing), "membership"),
    Mutant("unchecked_chains", "10", lambda: instead(follower, "check_chain", nothing), "byzantine"),
)

LEDGER: tuple[Mutant, ...] = (
    Mutant("payload_signature_unchecked", "validity", lambda: instead(payload, "check_payload", nothing), "payloads"),
    Mutant(
        "statement_signature_unchecked", "validity", lambda: instead(statement, "verify_strict", lambda *_: True),
        "payloads",
    ),
    Mutant("statements_unchecked", "validity", lambda: instead(statement, "check_statement", nothing), "payloads"),
    Mutant("bodies_are_waived", "validity", bodies_are_waived, "payloads"),
    Mutant("bodies_unchecked", "validity", lambda: instead(catalogue, "check_catalogue", _take_body), "payloads"),
    Mutant("nothing_is_on_record", "dedup", nothing_is_on_record),
    Mutant("same_statement_again", "dedup", lambda: _records(Reason.STATEMENT)),
    Mutant("same_reference_again", "dedup", lambda: _records(Reason.CLIENT_REF)),
)  # fmt: skip


RIGHTS: tuple[Mutant, ...] = (
    Mutant("nothing_lapses", "rights", lambda: instead(derive.Derivation, "lapse_due", nothing), "rights"),
    Mutant("lapses_while_the_epoch_ends", "rights", lapses_while_the_epoch_ends, "rights"),
    Mutant("status_keeps_its_number", "rights", lambda: instead(rights, "with_status", lambda r, _: r), "rights"),
    Mutant("stale_heads_pass", "rights", lambda: instead(rights, "require_head", nothing), "rights"),
    Mutant("anybody_disposes", "rights", lambda: instead(rights, "require_holder", nothing), "rights"),
    Mutant("the_disputed_is_minted", "rights", lambda: instead(rights, "require_active", nothing), "rights"),
    Mutant("an_overlay_forgets_rights", "rights", an_overlay_forgets_rights, "rights"),
)


MUTANTS = (*MEMBERSHIP, *LEDGER, *RIGHTS)
