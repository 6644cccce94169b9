"""From a claim on four real nodes to a token: minted once, shown with its status; and all that must cost nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bridge.deploy import Deployer, Genesis
from bridge.embedded import CHAIN_ID
from bridge.errors import ContractRefuses, NodeRefuses, WrongContract
from bridge.journal import Journal, State
from bridge.mint_node import Leaf, MintNode, Proof
from bridge.minting import Minter, MintRefused, NotCovered
from consensus.types import Digest
from ledger.chain_checkpoint import bridge_set
from ledger.derived import MintState
from ledger.mint_terms import MintTerms
from ledger.rights_content import Dispute, Withdraw
from tests.e2e.minting import MINTER, RECOVERY, STRANGER, WAIT_S, Studio
from tests.e2e.running import RunningDevnet


@pytest.fixture(scope="module")
def studio(running: RunningDevnet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    made = Studio(running, tmp_path_factory.mktemp("studio"))
    yield made
    made.close()


@pytest.fixture
def terms(studio: Studio) -> MintTerms:
    """Final, not minted yet."""
    return studio.agreed()


def minted(studio: Studio, terms: MintTerms) -> Any:
    with studio.journal() as journal:
        return studio.minter(journal).mint(terms, wait_s=WAIT_S, relay=True)


def dispute(studio: Studio, terms: MintTerms) -> None:
    content = Dispute(claim=terms.claim, position=0, grounds="Our recording.")
    studio.running.record("label", studio.running.sign(content, issuer="society"))


# ---- a token --------------------------------------------------------------------------------------------------------


def test_claim_becomes_a_token_against_a_checkpoint_that_a_quorum_signed(studio: Studio, terms: MintTerms) -> None:
    done = minted(studio, terms)
    state = studio.token_state(terms)
    assert state.owner == MINTER.address
    assert state.state is MintState.ACTIVE
    assert done.token.to_bytes(32, "big") == terms.entry(studio.running.genesis.digest)
    with studio.journal() as journal:
        nft = studio.minter(journal).nft
    page = json.loads(base64.b64decode(nft.uri(done.token, done.block).partition(",")[2]))
    assert page["name"] == "Opus (1/1)"
    assert {"Status": "active", "Checkpoint size": state.size}.items() <= {
        each["trait_type"]: each["value"] for each in page["attributes"]
    }.items()


def test_minting_again_finds_it_minted_and_pays_nothing(studio: Studio, terms: MintTerms) -> None:
    minted(studio, terms)
    paid = studio.paid()
    again = minted(studio, terms)
    assert again.hash is None
    assert studio.paid() == paid


def test_mint_killed_between_journal_and_send_is_taken_up_with_the_same_bytes(
    studio: Studio, terms: MintTerms, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> bool:
        raise Killed

    path = studio.folder / "killed"
    with Journal(path) as journal:
        minter = studio.minter(journal)
        minter._place(
            _leaf(studio, terms), 1e18, relay=True, evidence=None
        )  # a checkpoint, so that only the mint is left
        with monkeypatch.context() as patch:
            patch.setattr("bridge.sender.Sender.broadcast", killed)
            with pytest.raises(Killed):
                minter.mint(terms, wait_s=WAIT_S)
        attempts = [one for one in journal.open(CHAIN_ID, MINTER.address) if one.kind == "mint"]
        assert [one.state for one in attempts] == [State.INTENDED]
    assert not studio.token_state(terms).is_minted
    nonce = studio.paid()[0]
    with Journal(path) as journal:
        done = studio.minter(journal).mint(terms, wait_s=WAIT_S)
        assert done.hash == attempts[0].hash
        assert len([one for one in journal.open(CHAIN_ID, MINTER.address) if one.kind == "mint"]) == 1
    assert studio.paid()[0] == nonce + 1


def _leaf(studio: Studio, terms: MintTerms) -> Leaf:
    leaf = studio.node.derived(entry=terms.entry(studio.running.genesis.digest))
    assert leaf is not None
    return leaf


# ---- what costs nothing ---------------------------------------------------------------------------------------------


def refused(studio: Studio, rule: str, mint: Any, *, error: type[Exception] = MintRefused) -> None:
    before = studio.paid(), studio.paid(STRANGER)
    with pytest.raises(error, match=rule):
        mint()
    assert (studio.paid(), studio.paid(STRANGER)) == before


@pytest.mark.parametrize(
    ("rule", "changes", "signer"),
    [
        ("WrongChain", {"chain_id": 137}, MINTER),
        ("WrongContract", {"nft": b"\x01" * 20}, MINTER),
        ("WrongMinter", {}, STRANGER),
    ],
)
def test_terms_of_another_chain_contract_or_minter_cost_nothing(
    studio: Studio, rule: str, changes: dict[str, Any], signer: Any
) -> None:
    terms = studio.agreed(**changes)
    with studio.journal() as journal:
        refused(studio, rule, lambda: studio.minter(journal, signer=signer).mint(terms, wait_s=WAIT_S, relay=True))


def test_terms_that_are_not_in_the_log_cost_nothing(studio: Studio, terms: MintTerms) -> None:
    greedy = replace(terms, creator_share=8_500, curator_share=0)
    with studio.journal() as journal:
        refused(studio, "NotFinal", lambda: studio.minter(journal).mint(greedy, relay=True))


def test_leaf_that_no_checkpoint_covers_yet_costs_nothing(studio: Studio, terms: MintTerms) -> None:
    with studio.journal() as journal:
        refused(studio, r"the leaf is number \d+", lambda: studio.minter(journal).mint(terms), error=NotCovered)
        studio.minter(journal).mint(terms, wait_s=WAIT_S, relay=True)


class Liar(MintNode):
    """A node whose answers a test changes."""

    change: Any = None

    def inclusion(self, index: int, size: int) -> Proof:
        honest = super().inclusion(index, size)
        return self.change(honest) if self.change is not None else honest


def test_proof_of_another_tree_costs_nothing(studio: Studio, terms: MintTerms) -> None:
    changes = (
        lambda proof: replace(proof, path=proof.path[:-1]),
        lambda proof: replace(proof, path=(bytes(32), *proof.path[1:])),
        lambda proof: replace(proof, path=()),
        lambda proof: replace(proof, path=(*proof.path, bytes(32))),
    )
    with Liar(studio.running["label"].config.rpc) as node, studio.journal() as journal:
        studio.minter(journal)._place(_leaf(studio, terms), 1e18, relay=True, evidence=None)
        for change in changes:
            node.change = change
            refused(studio, "WrongTree", lambda: studio.minter(journal, node=node).mint(terms, wait_s=WAIT_S))
        node.change = None
        studio.minter(journal, node=node).mint(terms, wait_s=WAIT_S)


def test_leaf_with_other_terms_than_its_entry_is_the_nodes_lie(studio: Studio, terms: MintTerms) -> None:
    with MintNode(studio.running["label"].config.rpc) as node, studio.journal() as journal:
        honest = node._call

        def lying(method: str, request: Any) -> Any:
            answer = honest(method, request)
            if method == "GetDerivedLeaf":
                answer.leaf.preimage = answer.leaf.preimage[:-1] + b"\x01"
            return answer

        node._call = lying  # type: ignore[method-assign]
        refused(
            studio, "it is of another entry", lambda: studio.minter(journal, node=node).mint(terms, wait_s=WAIT_S),
            error=NodeRefuses,
        )  # fmt: skip


def test_claim_that_the_ledger_has_as_disputed_costs_nothing_before_the_chain_knows(
    studio: Studio, terms: MintTerms
) -> None:
    dispute(studio, terms)
    assert studio.token_state(terms).state is MintState.ACTIVE
    with studio.journal() as journal:
        refused(studio, "Disputed: the ledger", lambda: studio.minter(journal).mint(terms, wait_s=WAIT_S, relay=False))


def test_claim_that_the_chain_has_as_disputed_costs_nothing_and_the_contract_would_refuse_too(
    studio: Studio, terms: MintTerms
) -> None:
    dispute(studio, terms)
    with studio.journal() as journal:
        minter = studio.minter(journal)
        pushed = minter.push(terms, wait_s=WAIT_S, relay=True)
        assert pushed.hash is not None
        state = studio.token_state(terms)
        assert (state.state, state.seq, state.is_minted) == (MintState.DISPUTED, 1, False)
        refused(studio, "Disputed: trial knows", lambda: minter.mint(terms, wait_s=WAIT_S))
        refused(studio, "Disputed", lambda: past_all_checks(minter, terms), error=ContractRefuses)
        paid = studio.paid()
        assert minter.push(terms, wait_s=WAIT_S).hash is None
        assert studio.paid() == paid


def past_all_checks(minter: Minter, terms: MintTerms) -> None:
    """What the contract says to somebody who leaves our checks out."""
    consortium = minter.node.log().consortium
    leaf = minter.node.derived(entry=terms.entry(consortium))
    assert leaf is not None
    place = minter._place(leaf, 0.0, relay=False, evidence=None)
    block = minter.endpoints.common_head().number
    minter.nft.simulate(minter.signer.address, minter.nft.mint_call(terms, place), block)


def test_withdrawn_claim_is_revoked_and_a_minted_token_shows_it(studio: Studio, terms: MintTerms) -> None:
    unminted = studio.terms(terms.claim, edition=2, editions=2)
    minted(studio, terms)
    head = Digest(studio.running.client("label").rights(terms.claim).head)
    studio.running.record(
        "label", studio.running.sign(Withdraw(claim=terms.claim, position=0, head=head, reason="Ours."))
    )
    with studio.journal() as journal:
        minter = studio.minter(journal)
        minter.push(terms, wait_s=WAIT_S, relay=True)
        assert studio.token_state(terms).state is MintState.REVOKED
        assert studio.token_state(terms).owner == MINTER.address
        refused(studio, "NotFinal", lambda: minter.mint(unminted))


def test_status_of_a_token_that_nothing_happened_to_costs_nothing(studio: Studio, terms: MintTerms) -> None:
    with studio.journal() as journal:
        refused(studio, "NoStatus", lambda: studio.minter(journal).push(terms, wait_s=WAIT_S, relay=True))


def test_contract_that_is_not_ours_costs_nothing(studio: Studio, terms: MintTerms) -> None:
    """Code, bridge and consortium are looked at before anything is sent."""
    bridge = studio.config.bridge
    assert bridge is not None
    elsewhere = replace(terms, nft=bridge)
    with studio.journal() as journal:
        refused(studio, "code", lambda: studio.minter(journal, nft=bridge).mint(elsewhere), error=WrongContract)
        another = deployed_again(studio)
        refused(
            studio, "bridge", lambda: studio.minter(journal, bridge=another).mint(terms), error=WrongContract
        )  # fmt: skip


def deployed_again(studio: Studio) -> bytes:
    """Another bridge of the same consortium on the same chain, which the token contract does not ask."""
    log = studio.node.log()
    assert log.first_entry is not None
    genesis = Genesis(
        consortium=log.consortium, first_entry=log.first_entry, epoch=0,
        validators=bridge_set(studio.running.genesis.roster), recovery=RECOVERY,
    )  # fmt: skip
    with studio.journal() as journal:
        plain = replace(studio.config, bridge=None, nft=None)
        return Deployer(plain, studio.endpoints, STRANGER, journal, say=lambda _: None).deploy(genesis).bridge


def test_frozen_bridge_costs_nothing(running: RunningDevnet, studio: Studio) -> None:
    """Its own chain: nothing is minted there any more."""
    frozen = Studio(running, studio.folder)
    try:
        terms = frozen.agreed()
        frozen.freeze()
        with frozen.journal() as journal:
            refused(frozen, "Frozen", lambda: frozen.minter(journal).mint(terms, wait_s=WAIT_S, relay=True))
    finally:
        frozen.close()
