"""Evidence before a court: what passes, what stays open, and whom it makes a reader trust."""

from __future__ import annotations

import io
import zipfile

import pytest

from ledger.evidence import CHECKS, MediaDigests, Outcome, Verdict, verify_bundle
from tests.ledger.builders import make_consortium, make_media
from tests.ledger.evidence_builders import (
    Parts,
    cosign,
    finalize,
    make_checkpoint,
    make_impostors,
    make_parts,
    outcomes,
    refused_for,
)

CONSORTIUM = make_consortium()
GENESIS = CONSORTIUM.genesis
PARTS = make_parts(CONSORTIUM, position=3, children=1)
BUNDLE = PARTS.build()
SINGLE = make_parts(CONSORTIUM)
OPEN_WITHOUT_AUDIO = {"audio", "rights", "anchor", "anchor block", "legal time"}


# ---- what passes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [
        SINGLE,
        PARTS,
        make_parts(CONSORTIUM, position=0),
        make_parts(CONSORTIUM, children=5),
        make_parts(CONSORTIUM, exporter="platform"),
    ],
    ids=["claim", "claim of a catalogue", "first claim", "finalized by a descendant", "another exporter"],
)
def test_real_evidence_is_verified_with_every_check_and_a_reason(parts: Parts) -> None:
    report = verify_bundle(parts.build(), GENESIS, None)
    assert report.verdict is Verdict.VERIFIED
    assert tuple(check.name for check in report.checks) == CHECKS
    assert outcomes(report, Outcome.NOT_CHECKED) == OPEN_WITHOUT_AUDIO
    assert all(check.reason.endswith(".") and check.reason.isprintable() for check in report.checks)


def test_reasons_name_the_institutions_and_never_promise_legal_time() -> None:
    report = verify_bundle(BUNDLE, GENESIS, None)
    for name in ("checkpoint", "finalization"):
        assert "The Label (label, label), The Court (court, court)" in report.check(name).reason
        assert "3 are needed" in report.check(name).reason
    assert "Exported by The Court (court, court)" in report.check("exporter").reason
    assert "it is not legal time" in report.check("time").reason
    assert "no legal time" in report.check("legal time").reason
    assert "number 3 (from 0) of the 5 signed" in report.check("claim").reason
    assert "through its descendant 8" in report.check("finalization").reason


def test_quorum_without_the_fourth_is_enough() -> None:
    checkpoint = make_checkpoint(CONSORTIUM, PARTS.arguments["statement"])
    data = PARTS.but(
        note=cosign(CONSORTIUM, checkpoint, ["label", "society", "platform"]).encode(),
        finalization=finalize(CONSORTIUM, PARTS.arguments["blocks"][-1], (0, 1, 3)),
    ).build()
    report = verify_bundle(data, GENESIS, None)
    assert report.verdict is Verdict.VERIFIED
    assert "The Court" not in report.check("checkpoint").reason
    assert "The Society" not in report.check("finalization").reason


def test_catalogue_as_a_whole_is_evidence_that_offers_no_claim() -> None:
    report = verify_bundle(make_parts(CONSORTIUM, catalogue=True).build(), GENESIS, None)
    assert report.verdict is Verdict.VERIFIED
    assert report.check("claim").outcome is Outcome.NOT_CHECKED
    assert "offers no single claim" in report.check("claim").reason


def test_same_parts_make_the_same_bytes() -> None:
    assert PARTS.build() == BUNDLE


def test_ordinary_zip_program_opens_it() -> None:
    with zipfile.ZipFile(io.BytesIO(BUNDLE)) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[:4] == ["manifest.json", "manifest.sig", "VERIFY.md", "LIMITS.md"]
        assert archive.read("statement.cose") == PARTS.arguments["statement"]


# ---- audio -----------------------------------------------------------------------------------------------------------


def test_audio_is_compared_by_every_digest_given() -> None:
    named, other = make_media(3), make_media(4)
    for media in (
        MediaDigests(sha256=named.sha256),
        MediaDigests(blake3=named.blake3),
        MediaDigests(blake3=named.blake3, sha256=named.sha256),
    ):
        report = verify_bundle(BUNDLE, GENESIS, media)
        assert (report.verdict, report.check("audio").outcome) == (Verdict.VERIFIED, Outcome.PASSED)
    for media in (
        MediaDigests(sha256=other.sha256),
        MediaDigests(blake3=other.blake3),
        MediaDigests(blake3=named.blake3, sha256=other.sha256),
        MediaDigests(blake3=other.blake3, sha256=named.sha256),
    ):
        report = verify_bundle(BUNDLE, GENESIS, media)
        assert (report.verdict, report.check("audio").outcome) == (Verdict.REFUSED, Outcome.FAILED)
        assert outcomes(report, Outcome.FAILED) == {"audio"}


def test_digests_of_two_files_of_a_claim_do_not_mix() -> None:
    first, second = make_media("a"), make_media("b")
    data = make_parts(CONSORTIUM, media=(first, second)).build()
    for media in (first, second):
        offered = MediaDigests(blake3=media.blake3, sha256=media.sha256)
        assert verify_bundle(data, GENESIS, offered).verdict is Verdict.VERIFIED
    mixed = MediaDigests(blake3=first.blake3, sha256=second.sha256)
    assert verify_bundle(data, GENESIS, mixed).verdict is Verdict.REFUSED


def test_audio_given_but_not_comparable_is_incomplete_never_verified() -> None:
    media = MediaDigests(sha256=make_media(3).sha256)
    report = verify_bundle(make_parts(CONSORTIUM, catalogue=True).build(), GENESIS, media)
    assert report.verdict is Verdict.INCOMPLETE
    assert "no single claim" in report.check("audio").reason


def test_media_digests_need_a_digest() -> None:
    for arguments in ({}, {"sha256": b""}, {"blake3": bytes(31)}, {"sha256": bytes(32), "blake3": bytes(33)}):
        with pytest.raises(ValueError, match="32 bytes each"):
            MediaDigests(**arguments)


# ---- trust -----------------------------------------------------------------------------------------------------------


def test_without_a_genesis_it_is_incomplete_but_still_checked_against_itself() -> None:
    report = verify_bundle(BUNDLE, None, None)
    assert report.verdict is Verdict.INCOMPLETE
    assert outcomes(report, Outcome.PASSED) == {
        "archive", "manifest", "texts", "statement", "claim", "inclusion", "order",
    }  # fmt: skip
    assert not outcomes(report, Outcome.FAILED)
    assert "No trusted genesis was given" in report.check("genesis").reason
    for name in ("exporter", "issuer", "signature", "checkpoint", "finalization"):
        assert report.check(name).reason.startswith("Not checked for want of a trusted genesis.")


def test_without_a_genesis_what_contradicts_itself_is_refused() -> None:
    few = make_checkpoint(CONSORTIUM, PARTS.arguments["statement"])
    data = PARTS.but(note=cosign(CONSORTIUM, few, ["label", "court"]).encode()).build()
    report = verify_bundle(data, None, None)
    assert report.verdict is Verdict.REFUSED
    assert outcomes(report, Outcome.FAILED) == {"checkpoint"}


def test_flawless_evidence_of_four_invented_institutions_is_refused() -> None:
    impostors = make_impostors()
    data = make_parts(impostors, position=3, children=1).build()
    assert verify_bundle(data, impostors.genesis, None).verdict is Verdict.VERIFIED, "flawless in its own world"
    assert verify_bundle(data, None, None).verdict is Verdict.INCOMPLETE
    report = refused_for(data, "genesis", "The genesis in the file is not the trusted one")
    assert GENESIS.digest.hex() in report.check("genesis").reason
    trusting = {"genesis", "exporter", "issuer", "checkpoint", "policy", "finalization", "summary"}
    assert outcomes(report, Outcome.FAILED) == trusting


def test_invented_institutions_under_the_true_genesis_file_are_refused() -> None:
    """The impostors enclose the real genesis.json and name its digest in everything they sign."""
    impostors = make_impostors()
    disguised = type(impostors)(GENESIS)
    parts = make_parts(CONSORTIUM)
    blocks = parts.arguments["blocks"]
    checkpoint = make_checkpoint(CONSORTIUM, parts.arguments["statement"])
    forged = parts.but(
        note=cosign(disguised, checkpoint, ["label", "court", "society", "platform"]).encode(),
        finalization=finalize(disguised, blocks[-1]),
        sign=disguised.key("court", "export").sign,
    ).build()
    report = refused_for(forged, "exporter", "not signed by The Court")
    assert {"exporter", "checkpoint", "finalization"} <= outcomes(report, Outcome.FAILED)
