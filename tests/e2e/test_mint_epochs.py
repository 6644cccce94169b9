"""Tokens over an epoch's end: the bridge follows the committee, and later tokens are checked by its handover."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cli.bridge_verify import Named, collect, on_chain
from consensus.types import Epoch
from ledger.epochs import EpochProof, verify_epochs
from ledger.evidence_report import Outcome, Verdict
from ledger.governance import SetPolicy
from ledger.mint_terms import MintTerms
from ledger.token_file import TokenFile, verdict_of, verify_token
from tests.e2e.members import cast
from tests.e2e.minting import WAIT_S, Studio
from tests.e2e.running import RunningDevnet, until


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    """A devnet of its own: its epoch ends."""
    running = RunningDevnet(tmp_path / "d")
    try:
        running.up()
        made = Studio(running, tmp_path)
        yield made
        made.close()
    finally:
        running.close()


def minted(studio: Studio, terms: MintTerms) -> TokenFile:
    with studio.journal() as journal:
        studio.minter(journal).mint(terms, wait_s=2 * WAIT_S, relay=True)
    entry = terms.entry(studio.running.genesis.digest)
    return collect(
        studio.running.client("label"), studio.node, studio.endpoints, Named(studio.config, terms.nft, entry)
    )


def test_token_of_a_later_epoch_is_verified_by_the_epochs_one_trusts(studio: Studio) -> None:
    running = studio.running
    before, waiting = studio.agreed(), studio.agreed()
    first = minted(studio, before)

    other = replace(running.genesis.roster.parameters, delta_ms=running.genesis.roster.parameters.delta_ms + 1)
    cast(list(running.devnet.nodes)[:3], SetPolicy(epoch=Epoch(0), parameters=other), running.genesis.digest)
    until(lambda: len(list(running.client("label").epochs())) == 2, "the second epoch", 2 * WAIT_S)

    second = minted(studio, studio.agreed())
    assert second.checkpoint.epoch == 1
    with studio.journal() as journal:
        minter = studio.minter(journal)
        assert minter.bridge.state(studio.endpoints.common_head().number).epoch == 1
        minter.mint(waiting, wait_s=WAIT_S)  # its statement is of the first epoch, the checkpoint of the second

    records = list(running.client("court").epochs())
    rosters = verify_epochs(running.genesis, [EpochProof.decode(each.proof) for each in records[1:]])
    trusted = verify_token(second.encode(), running.genesis, known=rosters)
    chain = on_chain(studio.endpoints, studio.node, second, studio.config)
    assert verdict_of((*trusted, *chain)) is Verdict.VERIFIED, (trusted, chain)

    by_genesis = {check.name: check for check in verify_token(second.encode(), running.genesis)}
    assert by_genesis["mint"].outcome is Outcome.NOT_CHECKED, "retired keys could have made another handover"
    assert Outcome.FAILED not in {check.outcome for check in by_genesis.values()}

    earlier = verify_token(first.encode(), running.genesis)
    assert {check.outcome for check in earlier} == {Outcome.PASSED}, "nothing of it is of the later epoch"
    assert verdict_of(on_chain(studio.endpoints, studio.node, first, studio.config)) is Verdict.VERIFIED
