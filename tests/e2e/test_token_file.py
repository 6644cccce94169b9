"""A token checked from the claim to the chain; its file later, without anybody; and all ways in which it is no good."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.bridge_verify import Named, collect, on_chain
from consensus.types import Digest
from ledger.evidence_archive import encode_archive, parse_archive
from ledger.evidence_report import Check, Outcome, Verdict
from ledger.rights_content import Dispute
from ledger.token_file import (
    OFFLINE_CHECKS,
    TOKEN_JSON,
    MalformedToken,
    TokenFile,
    parse_token,
    verdict_of,
    verify_token,
)
from tests.e2e.minting import MINTER, WAIT_S, Studio
from tests.e2e.running import RunningDevnet
from tests.ledger.evidence_builders import make_impostors


@pytest.fixture(scope="module")
def studio(running: RunningDevnet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    made = Studio(running, tmp_path_factory.mktemp("studio"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def file(studio: Studio) -> TokenFile:
    """Of a token that was minted."""
    return token_of(studio)


def token_of(studio: Studio, *, mint: bool = True) -> TokenFile:
    terms = studio.agreed()
    with studio.journal() as journal:
        minter = studio.minter(journal)
        if mint:
            minter.mint(terms, wait_s=WAIT_S, relay=True)
        leaf = studio.node.derived(entry=terms.entry(studio.running.genesis.digest))
        assert leaf is not None
        if not mint:
            minter._place(leaf, 1e18, relay=True, evidence=None)
        named = Named(studio.config, terms.nft, leaf.entry)
        return collect(studio.running.client("label"), studio.node, studio.endpoints, named)


def ask(studio: Studio, file: TokenFile) -> dict[str, Check]:
    return {check.name: check for check in on_chain(studio.endpoints, studio.node, file, studio.config)}


def offline(studio: Studio, data: bytes, **changes: Any) -> dict[str, Check]:
    return {check.name: check for check in verify_token(data, changes.get("genesis", studio.running.genesis))}


def outcomes(checks: Sequence[Check] | dict[str, Check]) -> set[Outcome]:
    listed = checks.values() if isinstance(checks, dict) else checks
    return {check.outcome for check in listed}


def test_token_is_verified_from_the_claim_to_the_chain(studio: Studio, file: TokenFile) -> None:
    checks = offline(studio, file.encode())
    assert tuple(checks) == OFFLINE_CHECKS
    assert outcomes(checks) == {Outcome.PASSED}, checks
    assert "4 validators of epoch 0, 3 are needed: Aurora Records (label)" in checks["signers"].reason
    chain = ask(studio, file)
    assert outcomes(chain) == {Outcome.PASSED}, chain
    assert "owner is 0x" in chain["token"].reason
    assert verdict_of((*checks.values(), *chain.values())) is Verdict.VERIFIED
    assert parse_token(file.encode()) == file


def test_every_flipped_byte_of_the_files_own_part_is_refused(studio: Studio, file: TokenFile) -> None:
    """Also with every checksum mended: signatures and hashes hold it together. The evidence has tests of its own."""
    files = parse_archive(file.encode())
    told = bytearray(files[TOKEN_JSON])
    for position in range(len(told)):
        told[position] ^= 1 << position % 8
        checks = offline(studio, encode_archive(files | {TOKEN_JSON: bytes(told)}))
        told[position] ^= 1 << position % 8
        # An epoch that the file does not prove leaves it open who may sign: that is no pass either.
        unproven = checks["signers"].reason.startswith("The checkpoint is of epoch")
        assert Outcome.FAILED in outcomes(checks) or unproven, position
        assert verdict_of([*checks.values()]) is not Verdict.VERIFIED
    data = bytearray(file.encode())
    for position in range(0, len(data), 997):
        data[position] ^= 4
        assert Outcome.FAILED in outcomes(offline(studio, bytes(data)))
        data[position] ^= 4


def test_file_of_another_token_claim_or_signature_is_refused_by_name(studio: Studio, file: TokenFile) -> None:
    other = token_of(studio)
    signatures = file.signatures
    for failing, changed in (
        ("terms", replace(file, mint_evidence=other.mint_evidence)),
        ("terms", replace(file, token=other.token)),
        ("terms", replace(file, chain=137)),
        ("claim", replace(file, claim_evidence=other.claim_evidence)),
        ("leaf", replace(file, index=other.index)),
        ("leaf", replace(file, path=other.path)),
        ("signers", replace(file, signatures=signatures[:2])),
        ("signers", replace(file, signatures=(*signatures[1:], signatures[0]))),
        ("signers", replace(file, signatures=(signatures[0], *signatures[:-1]))),
        ("signers", replace(file, signatures=other.signatures)),
        ("mint", replace(file, mint_evidence=file.claim_evidence)),
    ):
        checks = offline(studio, changed.encode())
        broken = {name for name, check in checks.items() if check.outcome is Outcome.FAILED}
        assert failing in broken or (failing == "mint" and "terms" in broken), (failing, checks)


def test_without_a_genesis_nothing_passes_and_with_anothers_it_is_refused(studio: Studio, file: TokenFile) -> None:
    alone = offline(studio, file.encode(), genesis=None)
    assert outcomes(alone) == {Outcome.PASSED, Outcome.NOT_CHECKED}
    assert {name for name, check in alone.items() if check.outcome is Outcome.PASSED} == {"file"}
    assert verdict_of([*alone.values()]) is Verdict.INCOMPLETE
    foreign = offline(studio, file.encode(), genesis=make_impostors().genesis)
    assert foreign["mint"].outcome is Outcome.FAILED


def test_malformed_files_are_refused_by_form(file: TokenFile) -> None:
    files = parse_archive(file.encode())
    document = json.loads(files[TOKEN_JSON])
    for change in ({"chain": 0}, {"index": -1}, {"token": "0x00"}, {"signatures": "0x"}, {"path": ["0x" + "00" * 33]},
                   {"format": "stretto/token/v2"}, {"more": 1}, {"size": 2**53}):  # fmt: skip
        told = (json.dumps(document | change, indent=2) + "\n").encode()
        with pytest.raises(MalformedToken):
            parse_token(encode_archive(files | {TOKEN_JSON: told}))
    with pytest.raises(MalformedToken):
        parse_token(encode_archive({name: files[name] for name in reversed(files)}))


# ---- what only the chain can say -------------------------------------------------------------------------------------


def test_token_that_is_not_minted_is_incomplete(studio: Studio) -> None:
    unminted = token_of(studio, mint=False)
    assert outcomes(offline(studio, unminted.encode())) == {Outcome.PASSED}
    chain = ask(studio, unminted)
    assert (chain["token"].outcome, chain["token"].reason) == (Outcome.NOT_CHECKED, "The token is not minted (yet).")
    assert chain["checkpoint"].outcome is Outcome.PASSED


def test_disputed_claim_is_told_before_and_after_the_chain_knows(studio: Studio) -> None:
    file = token_of(studio)
    terms = _claim_of(file)
    content = Dispute(claim=terms, position=0, grounds="Ours.")
    studio.running.record("label", studio.running.sign(content, issuer="society"))
    before = ask(studio, file)["standing"]
    assert before.outcome is Outcome.FAILED
    assert before.reason.startswith("The ledger has the claim as disputed, by status 1; the chain knows status 0")


def _claim_of(file: TokenFile) -> Digest:
    from cli.bridge_verify import _terms

    found: Digest = _terms(file).claim
    return found


def test_contract_at_another_address_fails_and_the_rest_is_not_asked(studio: Studio, file: TokenFile) -> None:
    assert studio.config.bridge is not None
    for address in (studio.config.bridge, MINTER.address):
        chain = ask(studio, replace(file, contract=address))
        assert chain["contract"].outcome is Outcome.FAILED
        assert chain["token"].reason == "It builds on what failed before: contract."


def test_frozen_bridge_fails(running: RunningDevnet, tmp_path: Path) -> None:
    studio = Studio(running, tmp_path)
    try:
        file = token_of(studio)
        studio.freeze()
        assert ask(studio, file)["checkpoint"].reason.startswith("The bridge is frozen")
    finally:
        studio.close()


def test_root_that_the_chain_does_not_have_fails(studio: Studio, file: TokenFile) -> None:
    forged = replace(file.checkpoint, root=bytes([1]) * 32)
    assert ask(studio, replace(file, checkpoint=forged))["checkpoint"].outcome is Outcome.FAILED
    unknown = replace(file.checkpoint, size=9_999)
    assert ask(studio, replace(file, checkpoint=unknown))["checkpoint"].outcome is Outcome.NOT_CHECKED
