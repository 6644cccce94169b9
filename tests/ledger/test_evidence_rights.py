"""Evidence of what was said about a claim's rights: of any such statement, and of the claim that a SUPERSEDE holds."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from consensus.errors import MalformedMessage
from ledger.evidence import Outcome, Verdict, verify_bundle
from ledger.evidence_archive import parse_archive
from ledger.evidence_build import EvidenceImpossible
from ledger.evidence_case import MediaDigests
from ledger.evidence_manifest import parse_manifest
from ledger.evidence_parts import CATALOGUE_PROOF, CLAIM, MANIFEST, SUMMARY
from ledger.evidence_rights import read_rights_note, rights_note
from ledger.rights import ClaimId, OpenDispute, Stay, Superseded, initial
from ledger.rights_content import MintsFate
from ledger.statement import parse_statement
from tests.ledger.builders import make_claim, make_media
from tests.ledger.evidence_builders import TRUSTED, make_parts, refused_for, reseal
from tests.ledger.rights_builders import CLAIM as DISPUTED_CLAIM
from tests.ledger.rights_builders import CONTENTS, digest_of

ISSUERS = {"stay": "court", "stay until lifted": "court", "lift": "court", "revoke": "court", "reinstate": "court",
           "assign": "court"}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in CONTENTS if name != "supersede"])
def test_whatever_was_said_is_evidence_like_any_statement(name: str) -> None:
    content = CONTENTS[name]
    parts = make_parts(content=content, issuer=ISSUERS.get(name, "label"))
    data = parts.build()
    report = verify_bundle(data, TRUSTED, None)
    assert report.verdict is Verdict.VERIFIED
    assert report.check("claim").outcome is Outcome.NOT_CHECKED
    assert content.describe() in report.check("claim").reason
    summary = json.loads(parse_archive(data)[SUMMARY])
    assert summary["change"] == {"claim": DISPUTED_CLAIM.hex(), "position": 0, "to": content.describe()}
    assert "claim" not in summary
    with pytest.raises(EvidenceImpossible, match="holds no claims"):
        parts.but(position=0, claims=(b"x",)).build()


def test_a_claim_that_took_anothers_place_is_evidence_of_itself() -> None:
    parts = make_parts(content=CONTENTS["supersede"])
    media = make_media(7)
    report = verify_bundle(parts.build(), TRUSTED, MediaDigests(blake3=media.blake3, sha256=media.sha256))
    assert report.verdict is Verdict.VERIFIED
    assert report.check("claim").reason == f"The signed statement is itself the claim, about {make_claim(7).title!r}."
    assert report.check("audio").outcome is Outcome.PASSED
    summary = json.loads(parse_archive(parts.build())[SUMMARY])
    assert summary["claim"]["title"] == make_claim(7).title
    with pytest.raises(EvidenceImpossible, match="has no positions"):
        parts.but(position=0, claims=(b"x",)).build()


@pytest.mark.parametrize("name", ["dispute", "supersede"])
def test_a_catalogues_claim_beside_a_statement_that_is_none_is_refused(name: str) -> None:
    inside = parse_archive(make_parts(position=2).build())
    parts = make_parts(content=CONTENTS[name])
    changed = reseal(
        parts.build(), {CLAIM: inside[CLAIM], CATALOGUE_PROOF: inside[CATALOGUE_PROOF]}, parts.consortium
    )  # fmt: skip
    refused_for(changed, "claim", "the statement is no catalogue")


# ---- where the claim stood -------------------------------------------------------------------------------------------

D1, D2, D3 = (digest_of(f"a statement {n}") for n in range(3))
STATES = {
    "undisputed": ({}, "stood undisputed and was held by label"),
    "disputed": ({"disputes": (OpenDispute(D1, "society"), OpenDispute(D2, "court"))}, f"{D1.hex()}, {D2.hex()}"),
    "stayed": ({"stay": Stay(D3, 0)}, f"stayed by the order {D3.hex()}"),
    "revoked": ({"revoked": True}, "was REVOKED"),
    "superseded": ({"superseded": Superseded(D2, MintsFate.KEEP)}, f"replaced by the statement {D2.hex()}"),
    "transferred": ({"holder": "society", "head": D1}, "stood undisputed and was held by society"),
}


@pytest.mark.parametrize("name", STATES)
def test_evidence_of_a_claim_says_where_it_stood_by_the_exporters_word(name: str) -> None:
    changes, said = STATES[name]
    parts = make_parts()
    claim = ClaimId(parse_statement(parts.arguments["statement"]).digest, 0)
    data = parts.but(rights=replace(initial(claim, "label"), **changes)).build()
    report = verify_bundle(data, TRUSTED, None)
    assert report.verdict is Verdict.VERIFIED
    check = report.check("rights")
    assert check.outcome is Outcome.NOT_CHECKED
    assert said in check.reason
    assert "By the word of the exporter, court, and not proven by this file" in check.reason
    manifest = parse_manifest(parse_archive(data)[MANIFEST])
    assert manifest.rights is not None
    assert parse_manifest(manifest.encode()) == manifest


def test_what_offers_no_claim_says_nothing_of_rights_and_old_evidence_neither() -> None:
    claim = initial(ClaimId(D1, 0), "label")
    for parts in (make_parts(content=CONTENTS["dispute"]), make_parts(catalogue=True)):
        data = parts.but(rights=claim).build()
        assert parse_manifest(parse_archive(data)[MANIFEST]).rights is None
    report = verify_bundle(make_parts().build(), TRUSTED, None)
    assert (report.verdict, report.check("rights").outcome) == (Verdict.VERIFIED, Outcome.NOT_CHECKED)
    assert "does not say" in report.check("rights").reason


def test_words_that_the_exporter_did_not_sign_are_not_repeated() -> None:
    parts = make_parts().but(rights=initial(ClaimId(D1, 0), "label"))
    report = refused_for(reseal(parts.build(), {}, parts.consortium, "label"), "exporter", "not signed by")
    assert "builds on what failed" in report.check("rights").reason


GOOD = rights_note(
    replace(initial(ClaimId(D1, 0), "label"), disputes=(OpenDispute(D2, "court"),), stay=Stay(D3, 9))
).value()  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"state": "FINE"}, {"state": 1}, {"holder": "No Member"}, {"holder": None}, {"head": "00"}, {"head": None},
        {"disputes": None}, {"disputes": ["00"]}, {"disputes": [D1.hex()] * 17}, {"stay": 1}, {"superseded_by": "x"},
        {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_almost_a_note_of_rights_is_refused(change: dict[str, object]) -> None:
    def refuse(field: str, expected: str) -> Exception:
        assert expected
        return MalformedMessage("evidence manifest", field, expected)

    assert read_rights_note(GOOD, refuse).value() == GOOD
    with pytest.raises(MalformedMessage, match="rights"):
        read_rights_note(GOOD | change, refuse)
    for value in (None, [], "ACTIVE", {}, dict(reversed(GOOD.items()))):
        with pytest.raises(MalformedMessage, match="rights"):
            read_rights_note(value, refuse)
