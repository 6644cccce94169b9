"""One relayer on a real node: it brings what lacks, once, in order, and follows it until it is final."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import pytest

from bridge.artifacts import calldata
from bridge.errors import (
    BalanceTooLow,
    BridgeFrozen,
    CheckpointRefused,
    ContractRefuses,
    FeeOverCap,
    ForkFound,
    MalformedAnswer,
    WrongContract,
)
from bridge.fees import GWEI, FeePolicy
from bridge.journal import Journal, State
from bridge.node_client import NodeCheckpoint
from bridge.relay import SETTLE_POLLS, ChainRelay
from bridge.run import open_endpoints
from bridge.signer import KeySigner
from consensus.types import Epoch
from tests.bridge.anvils import SLOTS
from tests.bridge.service import Ledger
from tests.bridge.world import Place, key
from tests.contracts.log import Log, numbered
from tests.contracts.signers import make_signers


@pytest.fixture
def journal(place: Place) -> Iterator[Journal]:
    with place.journal() as opened:
        yield opened


@pytest.fixture
def relay(place: Place, journal: Journal) -> ChainRelay:
    return place.relay(journal)


def rounds(relay: ChainRelay, count: int = SETTLE_POLLS) -> None:
    for _ in range(count):
        with contextlib.suppress(MalformedAnswer):  # anvil answers from between two blocks now and then
            relay.round()


def states(journal: Journal) -> dict[str, int]:
    return {f"{each.kind} {each.state}": each.count for each in journal.totals()}


def test_brings_a_checkpoint_once(place: Place, relay: ChainRelay, journal: Journal) -> None:
    place.ledger.grow(4)
    rounds(relay, 5)
    assert relay.report.state is not None
    assert (relay.report.state.size, relay.report.state.root) == (5, place.ledger.entries.root())
    assert len(place.paid()) == 1
    assert relay.report.open == 1, "mined, but not final yet"
    place.node.mine(2 * SLOTS)
    rounds(relay)
    assert states(journal) == {"submit useful": 1}
    assert relay.report.settled


def test_nothing_is_sent_while_nothing_lacks(place: Place, relay: ChainRelay) -> None:
    rounds(relay)
    assert relay.report.doing == "nothing is due"
    assert place.paid() == []


def test_catches_up_with_one_transaction(place: Place, relay: ChainRelay) -> None:
    for _ in range(20):
        place.ledger.grow(7)
    rounds(relay)
    assert len(place.paid()) == 1


def test_rotates_at_every_boundary_in_order(place: Place, relay: ChainRelay, journal: Journal) -> None:
    place.ledger.grow(2)
    for number in range(3):
        place.ledger.end_epoch(make_signers(4 + number, f"committee {number}"))
        place.ledger.grow(3)
    rounds(relay, 8)
    assert relay.report.state is not None
    assert (relay.report.state.epoch, relay.report.state.size) == (place.ledger.epoch, place.ledger.entries.size)
    place.node.mine(2 * SLOTS)
    rounds(relay)
    assert states(journal) == {"rotate useful": 3, "submit useful": 1}


def test_fewer_leaves_than_the_policy_wants_wait(place: Place, journal: Journal) -> None:
    relay = place.relay(journal, leaves_min=10)
    place.ledger.grow(9)
    rounds(relay)
    assert place.paid() == []
    place.ledger.grow(1)
    rounds(relay)
    assert len(place.paid()) == 1


def test_what_a_reorganisation_took_back_is_brought_again(place: Place, relay: ChainRelay, journal: Journal) -> None:
    place.ledger.grow(4)
    rounds(relay, 2)
    place.node.mine(2)
    before = place.paid()[0]["transactionHash"]
    place.node.reorganise(4)
    assert place.paid() == []
    rounds(relay, 2)
    (paid,) = place.paid()
    assert paid["transactionHash"] == before, "the same bytes: the account cannot pay twice"
    assert relay.sender.counts["reorganised"] == 1
    place.node.mine(2 * SLOTS)
    rounds(relay)
    assert states(journal) == {"submit useful": 1}


def test_a_chain_of_checkpoints_taken_back_is_brought_again_in_order(
    place: Place, relay: ChainRelay, journal: Journal
) -> None:
    for _ in range(3):
        place.ledger.grow(2)
        rounds(relay, 2)
    assert len(place.paid()) == 3
    place.node.reorganise(6)
    rounds(relay, 8)
    assert len(place.paid()) == 3
    assert all(each["status"] == "0x1" for each in place.paid())
    place.node.mine(2 * SLOTS)
    rounds(relay)
    assert states(journal) == {"submit useful": 3}


def test_next_checkpoint_waits_until_the_last_one_cannot_be_taken_back(place: Place, journal: Journal) -> None:
    relay = place.relay(journal, build_on_latest=False)
    place.ledger.grow(2)
    rounds(relay, 2)
    place.ledger.grow(2)
    rounds(relay, 4)
    assert relay.report.doing == "submit: waits until the last one is final"
    assert relay.report.due
    assert len(place.paid()) == 1
    place.node.mine(2 * SLOTS)
    rounds(relay, 2)
    assert len(place.paid()) == 2


def test_frozen_bridge_stops_with_both_checkpoints_kept(place: Place, relay: ChainRelay) -> None:
    ledger = place.ledger
    ledger.grow(4)
    rounds(relay, 2)
    twin = Ledger(entries=Log([*numbered(1), *numbered(4, "forged")]))
    twin.grow(1)
    mine, theirs = ledger.latest(), twin.latest()
    assert mine is not None
    assert theirs is not None
    ledger.grow(1)
    other = ledger.latest()
    assert other is not None
    call = calldata("CheckpointBridge", "reportFork", other.signed.abi, theirs.signed.abi)
    place.node.ask(
        "eth_sendTransaction",
        {
            "from": place.node.ask("eth_accounts")[0],
            "to": "0x" + place.deployed.bridge.hex(),
            "data": "0x" + call.hex(),
            "gas": hex(1_000_000),
        },
    )
    for _ in range(2):
        with pytest.raises(BridgeFrozen) as stopped:
            relay.round()
    (kept,) = (place.folder / "contradictions").iterdir()
    assert stopped.value.kept == str(kept)
    text = kept.read_text()
    assert other.signed.checkpoint.root.hex() in text
    assert theirs.signed.checkpoint.root.hex() in text
    assert sum(each["from"] == "0x" + key(0).address.hex() for each in place.paid()) == 1


def test_fork_of_a_quorum_is_kept_and_not_paid_for(place: Place, relay: ChainRelay, journal: Journal) -> None:
    place.ledger.grow(4)
    rounds(relay, 2)
    twin = Ledger(entries=Log([*numbered(1), *numbered(3, "forged")]))
    twin.grow(1)
    lying = place.relay(journal, node=twin)
    with pytest.raises(ForkFound) as found:
        lying.round()
    text = (place.folder / "contradictions").joinpath(found.value.kept).read_text()
    assert place.ledger.entries.root().hex() in text
    assert twin.entries.root().hex() in text
    assert len(place.paid()) == 1


def test_log_that_does_not_extend_the_contracts_is_refused(place: Place, relay: ChainRelay, journal: Journal) -> None:
    place.ledger.grow(4)
    rounds(relay, 2)
    twin = Ledger(entries=Log([*numbered(1), *numbered(9, "forged")]))
    twin.grow(1)
    with pytest.raises(CheckpointRefused, match="WrongRoot"):
        place.relay(journal, node=twin).round()
    assert len(place.paid()) == 1


def test_another_consortiums_contract_is_refused(place: Place, journal: Journal) -> None:
    stranger = Ledger(consortium=b"\x11" * 32)
    stranger.grow(3)
    with pytest.raises(WrongContract, match="consortium"):
        place.relay(journal, node=stranger).round()


def test_address_without_the_contract_is_refused(place: Place, journal: Journal) -> None:
    relay = place.relay(journal, bridge=place.deployed.nft)
    with pytest.raises(WrongContract, match="code"):
        relay.round()


def test_empty_account_is_said_and_nothing_is_signed(place: Place, journal: Journal) -> None:
    config = place.config()
    poor = KeySigner(b"\x05" * 32)
    relay = ChainRelay(config, open_endpoints(config), place.ledger, poor, journal, evidence=place.folder)
    place.ledger.grow(2)
    with pytest.raises(BalanceTooLow) as said:
        relay.round()
    assert said.value.balance == 0
    assert journal.open(config.id, poor.address) == []


def test_gas_above_the_cap_waits(place: Place, journal: Journal) -> None:
    fees = FeePolicy(chain="zilliqa", cap=1, tip_cap=1)
    place.ledger.grow(2)
    relay = place.relay(journal, fees=fees)
    with pytest.raises(FeeOverCap):
        relay.round()
    assert place.paid() == []
    dearer = dataclasses.replace(fees, cap=900 * GWEI, tip_cap=GWEI)
    rounds(place.relay(journal, fees=dearer), 2)
    assert len(place.paid()) == 1


def test_stuck_transaction_is_replaced_with_the_same_nonce(place: Place, journal: Journal) -> None:
    now = [0.0]
    place.ledger.grow(3)
    place.node.ask("evm_setAutomine", False)
    try:
        relay = place.relay(journal, replace_s=1.0)
        relay.sender._clock = relay._clock = lambda: now[0]
        relay.round()
        (first,) = journal.open(place.node.id, key(0).address)
        journal._db.execute("UPDATE attempts SET sent_s = sent_s - 100")
        now[0] += 100
        rounds(relay, 2)
        now[0] += 100
        relay.round()
        attempts = journal.open(place.node.id, key(0).address)
        assert len(attempts) == 2, relay.report.doing
        assert attempts[1].nonce == first.nonce
        assert attempts[1].fees.tip * 8 >= first.fees.tip * 9
    finally:
        place.node.ask("evm_setAutomine", True)
    place.node.mine(2 * SLOTS + 1)
    rounds(relay)
    assert states(journal) == {"submit useful": 1, "submit replaced": 1}
    assert len(place.paid()) == 1


def test_nonce_used_by_another_process_with_this_key_is_noticed(place: Place, journal: Journal) -> None:
    place.ledger.grow(3)
    relay, account = place.relay(journal), "0x" + key(0).address.hex()
    place.node.ask("evm_setAutomine", False)
    relay.round()
    place.node.ask("anvil_dropAllTransactions")
    place.node.ask("evm_setAutomine", True)
    place.node.ask("anvil_impersonateAccount", account)
    place.node.ask("eth_sendTransaction", {"from": account, "to": account, "value": "0x1"})
    place.node.mine(2 * SLOTS)
    rounds(relay, SETTLE_POLLS + 1)
    assert states(journal) == {"submit lost": 1}
    assert len(place.paid()) == 1, "the checkpoint went out with the next nonce"


def test_recovery_sends_what_was_journalled_and_not_sent(place: Place, journal: Journal) -> None:
    place.ledger.grow(3)
    relay = place.relay(journal)
    relay.sender.broadcast = lambda _: False  # type: ignore[method-assign]  the process dies here
    relay.round()
    (attempt,) = journal.open(place.node.id, key(0).address)
    assert (attempt.state, place.paid()) == (State.INTENDED, [])
    again = place.relay(journal)
    rounds(again, 2)
    (paid,) = place.paid()
    assert paid["transactionHash"] == "0x" + attempt.hash.hex()


def test_recovery_pays_nothing_where_another_brought_it_meanwhile(place: Place, journal: Journal) -> None:
    place.ledger.grow(3)
    relay = place.relay(journal)
    relay.sender.broadcast = lambda _: False  # type: ignore[method-assign]
    relay.round()
    with place.journal(1) as other:
        rounds(place.relay(other, index=1), 2)
    place.ledger.grow(2)
    rounds(place.relay(journal), 2)
    mine = [each for each in place.paid() if each["from"] == "0x" + key(0).address.hex()]
    assert len(place.paid()) == 2
    assert len(mine) == 1, "the next checkpoint, on whichever nonce was free"
    assert all(each["status"] == "0x1" and each["logs"] for each in place.paid())


def test_block_that_is_not_canonical_makes_nothing_final(place: Place, relay: ChainRelay, journal: Journal) -> None:
    place.ledger.grow(3)
    rounds(relay, 2)
    place.node.mine(2 * SLOTS)
    (attempt,) = journal.open(place.node.id, key(0).address)
    assert attempt.block is not None
    journal.mined(attempt, attempt.block, b"\x09" * 32)
    assert relay.sender.settle(relay.endpoints.finalized(), relay._changed) == []
    assert journal.open(place.node.id, key(0).address)[0].state is State.SENT
    rounds(relay, SETTLE_POLLS)
    assert states(journal) == {"submit useful": 1}


def test_legacy_transactions_where_a_chain_needs_them(place: Place, journal: Journal) -> None:
    fees = FeePolicy(chain="zilliqa", cap=900 * GWEI, tip_cap=GWEI, legacy=True)
    place.ledger.grow(3)
    rounds(place.relay(journal, fees=fees), 2)
    (paid,) = place.paid()
    assert (paid["type"], paid["status"]) == ("0x0", "0x1")


def test_more_gas_than_allowed_is_not_sent(place: Place, journal: Journal) -> None:
    place.ledger.grow(3)
    with pytest.raises(ContractRefuses, match="gas_max allows 50000"):
        place.relay(journal, gas_max=50_000).round()
    assert place.paid() == []


def test_transaction_of_another_that_comes_in_the_last_moment_stops_ours(place: Place, journal: Journal) -> None:
    place.ledger.grow(3)
    relay = place.relay(journal)
    looks = iter([(1, 1), (1, 4)])
    relay.contract.pending = lambda: next(looks)  # type: ignore[method-assign]
    relay.round()
    assert relay.report.doing == "submit: another's transaction has just come"
    assert place.paid() == []
    assert journal.open(place.node.id, key(0).address) == []
    rounds(place.relay(journal), 2)
    assert len(place.paid()) == 1, "it was wanted after all: the same bytes"


def test_two_relayers_of_one_chain_take_turns(place: Place, journal: Journal) -> None:
    now = [0.0]
    with place.journal(1) as other:
        relays = [
            place.relay(opened, index=index, relayers=2, turn_s=10.0) for index, opened in enumerate((journal, other))
        ]
        for relay in relays:
            relay._clock = lambda: now[0]
            relay.round()
        for _ in range(6):
            place.ledger.grow(2)
            for relay in relays:
                rounds(relay, 1)
        assert len(place.paid()) == 6
        senders = {each["from"] for each in place.paid()}
        assert senders == {"0x" + key(index).address.hex() for index in range(2)}
        place.ledger.grow(2)
        waiting = [relay for relay in relays if "leaves it to others" in relay.round().doing]
        if not waiting:
            return  # the first one has sent before the second looked
        now[0] += 10.0
        rounds(waiting[0], 1)
    assert len(place.paid()) == 7


@pytest.mark.parametrize(
    "alter",
    [
        {"root": b"\x09" * 32},
        {"size": 400},
        {"signatures": ()},
        {"consortium": b"\x01" * 32},
        {"validators": (b"\x01" * 20,) * 4},
        {"epoch": Epoch(9)},
    ],
    ids=lambda alter: next(iter(alter)),
)
def test_nothing_is_paid_for_what_a_lying_node_gives(place: Place, journal: Journal, alter: dict[str, object]) -> None:
    def lie(found: NodeCheckpoint) -> NodeCheckpoint:
        point = {name: value for name, value in alter.items() if name in ("epoch", "root", "size")}
        rest = {name: value for name, value in alter.items() if name not in point}
        checkpoint = dataclasses.replace(found.signed.checkpoint, **point)  # type: ignore[arg-type]
        return dataclasses.replace(found, signed=dataclasses.replace(found.signed, checkpoint=checkpoint, **rest))  # type: ignore[arg-type]

    place.ledger.grow(3)
    place.ledger.alter = lie
    relay = place.relay(journal)
    if "epoch" in alter:
        assert relay.round().doing == "nothing is due", "its end of the bridge's epoch is asked for, and there is none"
    else:
        with pytest.raises(CheckpointRefused):
            relay.round()
    assert place.paid() == []
    assert journal.open(place.node.id, key(0).address) == []
