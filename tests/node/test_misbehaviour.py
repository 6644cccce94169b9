"""From two votes on the wire to evidence on disk: what the loop keeps, and that it never accuses an honest node."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.types import Digest, Epoch, Height, Signature, SignedVote, ValidatorIndex, View, Vote, VoteKind, nullify
from ledger.evidence_report import Verdict
from ledger.misbehaviour import verify_misbehaviour
from node.store.misbehaviour import page
from node.wire import encode
from tests.ledger.builders import make_claim
from tests.node.nodes import CONSORTIUM, GENESIS, MEMBERS, Bench, key, make_folder
from tests.node.town import Town

A, B = Digest(b"a" * 32), Digest(b"b" * 32)
NOTARIZE, FINALIZE = VoteKind.NOTARIZE, VoteKind.FINALIZE


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(make_folder(tmp_path / "court", "court"))
    bench.loop.start()
    yield bench
    bench.close()


def vote(kind: VoteKind, block: Digest = A, view: int = 3) -> Vote:
    return Vote(kind=kind, epoch=Epoch(0), view=View(view), height=Height(1), block=block)


def cast(member: str, of: Vote, *, signer: str = "") -> bytes:
    """The frame of a vote. signer: whose key signs, where that is another's."""
    signature = key(signer or member, "consensus").sign(of.signing_bytes(GENESIS.digest))
    return encode(SignedVote(vote=of, voter=ValidatorIndex(MEMBERS.index(member)), signature=Signature(signature)))


def kept(node: Bench) -> tuple[bytes, ...]:
    with node.store._env.read() as txn:
        return page(txn, node.store._tables.misbehaviour, 1_000, b"")[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (vote(NOTARIZE, A), vote(NOTARIZE, B)),
        (vote(FINALIZE, A), vote(FINALIZE, B)),
        (nullify(Epoch(0), View(3)), vote(FINALIZE)),
        (vote(FINALIZE), nullify(Epoch(0), View(3))),
    ],
)
def test_contradicting_votes_are_kept_and_convict_their_validator(
    node: Bench, caplog: pytest.LogCaptureFixture, one: Vote, other: Vote
) -> None:
    node.loop.frame("platform", cast("platform", one))
    assert kept(node) == ()
    node.loop.frame("society", cast("platform", other))  # whoever brings it
    (data,) = kept(node)
    report = verify_misbehaviour(data, GENESIS)
    assert (report.verdict, report.member) == (Verdict.VERIFIED, GENESIS.member("platform"))
    assert [r.message for r in caplog.records if r.levelno == logging.ERROR] == [
        f"two contradicting votes of platform {report.evidence.sentence()}"  # type: ignore[union-attr]
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (vote(NOTARIZE), nullify(Epoch(0), View(3))),
        (vote(NOTARIZE), vote(NOTARIZE)),
        (vote(NOTARIZE, A), vote(FINALIZE, B)),
        (vote(NOTARIZE, A, 3), vote(NOTARIZE, B, 4)),
    ],
)
def test_what_an_honest_validator_casts_is_not_kept(node: Bench, one: Vote, other: Vote) -> None:
    for frame in (one, other, one):
        node.loop.frame("platform", cast("platform", frame))
    assert kept(node) == ()


def test_a_forged_vote_makes_no_evidence_against_its_alleged_voter(node: Bench) -> None:
    node.loop.frame("platform", cast("platform", vote(NOTARIZE, A)))
    node.loop.frame("society", cast("platform", vote(NOTARIZE, B), signer="society"))
    assert kept(node) == ()


def test_it_is_kept_and_told_once_also_over_a_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = make_folder(tmp_path / "court", "court")
    for _ in range(2):
        bench = Bench(config)
        bench.loop.start()
        for block in (A, B, A, B):
            bench.loop.frame("platform", cast("platform", vote(NOTARIZE, block)))
        assert len(kept(bench)) == 1
        bench.close()
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 1


def test_four_honest_nodes_keep_nothing_against_each_other_over_a_crash_and_a_lost_leader(tmp_path: Path) -> None:
    town = Town(tmp_path)
    for number in range(3):
        town.submit("court", CONSORTIUM.statement(make_claim(number), ref=f"r{number}"))
        town.run()
        town.stop(MEMBERS[number])
        if MEMBERS[number] != "court":
            town.submit("court", CONSORTIUM.statement(make_claim(100 + number), ref=f"s{number}"))
        town.run()
        town.start(MEMBERS[number])
        town.run()
    assert len(set(town.sizes().values())) == 1
    assert [kept(node) for node in town.nodes.values()] == [()] * 4
    town.close()
