"""Evidence of what was said about a claim's rights: of any such statement, and of the claim that a SUPERSEDE holds."""

from __future__ import annotations

import json

import pytest

from ledger.evidence import Outcome, Verdict, verify_bundle
from ledger.evidence_archive import parse_archive
from ledger.evidence_build import EvidenceImpossible
from ledger.evidence_case import MediaDigests
from ledger.evidence_parts import CATALOGUE_PROOF, CLAIM, SUMMARY
from tests.ledger.builders import make_claim, make_media
from tests.ledger.evidence_builders import TRUSTED, make_parts, refused_for, reseal
from tests.ledger.rights_builders import CLAIM as DISPUTED_CLAIM
from tests.ledger.rights_builders import CONTENTS

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
