"""Evidence of records and checkpoints of later epochs: judged by the committee of each, proven from the genesis."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from consensus.types import Block, Digest, Epoch, Height, ValidatorIndex, View
from ledger.checkpoint import checkpoint_note, cosignature, log_signature
from ledger.epochs import EpochProof, encode_epochs
from ledger.evidence import CHECKS, EvidenceImpossible, Outcome, Report, Verdict, build_bundle, verify_bundle
from ledger.evidence_archive import encode_archive, parse_archive
from ledger.evidence_manifest import parse_manifest
from ledger.evidence_parts import (
    CHECKPOINT,
    EPOCHS,
    GENESIS,
    LOG_PROOF,
    MANIFEST,
    MANIFEST_SIGNATURE,
    POLICY,
    SUMMARY,
    ordered_names,
)
from ledger.genesis import Role
from ledger.governance import Admit, Change, RotateKey, amend, conclude
from ledger.note import parse_note
from ledger.payload import build_payload
from ledger.policy import epoch_policy
from ledger.roster import Roster
from ledger.statement import Content, sign_statement
from ledger.tlog_proof import TlogProof
from tests.ledger.builders import Consortium, make_claim, make_consortium, make_member, private_key, public_key
from tests.ledger.epoch_builders import GENESIS as TRUSTED
from tests.ledger.epoch_builders import ROSTERS, certify, handover, proofs, signer_of
from tests.ledger.evidence_builders import (
    BLOCK_TIME_MS,
    EXPORT_TIME_MS,
    INDEX,
    log_path,
    make_checkpoint,
    make_parts,
    outcomes,
    reseal,
)

PROOFS = proofs()
OPEN = {"audio", "rights", "anchor", "anchor block", "legal time"}


def note_by(roster: Roster, statement: bytes, signers: Sequence[int] | None = None) -> bytes:
    """Checkpoint over the statement's log, cosigned by validators of `roster`."""
    checkpoint = make_checkpoint(Consortium(TRUSTED), statement)
    logs, lines = [], []
    for index, member in enumerate(roster.validator_members()):
        if signers is None or index in signers:
            log, cosign = signer_of(roster, index, "log"), signer_of(roster, index, "cosign")
            logs.append(log_signature(checkpoint, public_key=member.keys.log, sign=log.sign))
            line = cosignature(
                checkpoint, member_id=member.id, timestamp_s=BLOCK_TIME_MS // 1000 + 1,
                public_key=member.keys.cosign, sign=cosign.sign,
            )  # fmt: skip
            lines.append(line)
    return checkpoint_note(checkpoint, logs, lines).encode()


def arguments(
    epoch: int, *, signed: int | None = None, now: int | None = None, issuer: str = "indie",
    exporter: str = "indie", content: Content | None = None, proven: Sequence[EpochProof] = PROOFS,
) -> dict[str, Any]:  # fmt: skip
    """What `build_bundle` takes for a claim ordered in `epoch`, under a checkpoint of `signed`, exported in `now`."""
    rosters = (TRUSTED.roster, *(proof.roster for proof in proven))
    signed = epoch if signed is None else signed
    roster = rosters[epoch]
    statement = sign_statement(
        content or make_claim(1), client_ref="r", issuer=issuer, public_key=public_key(issuer, "statement"),
        consortium=TRUSTED.digest, sign=private_key(issuer, "statement").sign,
    )  # fmt: skip
    unsigned = build_payload(
        [statement], consortium=TRUSTED.digest, epoch=Epoch(epoch), author=ValidatorIndex(1), sequence=1, created_ms=1
    )  # fmt: skip
    payload = unsigned.signed(signer_of(roster, 1).sign(unsigned.signing_bytes))
    block = Block(
        consortium=TRUSTED.digest, epoch=Epoch(epoch), view=View(9), height=Height(7), parent_view=View(8),
        parent=Digest(b"p" * 32), timestamp_ms=BLOCK_TIME_MS, proposer=ValidatorIndex(0), payloads=(payload.digest,),
    )  # fmt: skip
    return {
        "genesis": TRUSTED, "statement": statement, "index": INDEX, "path": log_path(statement),
        "note": note_by(rosters[signed], statement), "blocks": (block,), "finalization": certify(roster, block),
        "payload": payload.encode(), "claims": None, "position": None, "exporter": exporter,
        "exported_ms": EXPORT_TIME_MS, "sign": private_key(exporter, "export").sign,
        "proofs": proven if now is None else proven[:now],
    }  # fmt: skip


def verified(data: bytes, known: Sequence[Roster] = ROSTERS) -> Report:
    report = verify_bundle(data, TRUSTED, None, known=known)
    assert not outcomes(report, Outcome.FAILED), [c for c in report.checks if c.outcome is Outcome.FAILED]
    assert report.verdict is Verdict.VERIFIED
    return report


def refused_for(data: bytes, name: str, reason: str) -> Report:
    report = verify_bundle(data, TRUSTED, None)
    assert report.verdict is Verdict.REFUSED
    assert report.check(name).outcome is Outcome.FAILED, report.check(name)
    assert reason in report.check(name).reason
    return report


# ---- evidence that holds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", range(1, 5))
def test_a_claim_of_a_later_epoch_is_proven_by_the_committee_of_that_epoch(epoch: int) -> None:
    report = verified(build_bundle(**arguments(epoch)))
    assert tuple(check.name for check in report.checks) == CHECKS
    assert outcomes(report, Outcome.NOT_CHECKED) == OPEN
    assert f"From the genesis to epoch {epoch}" in report.check("epochs").reason
    assert f"of epoch {epoch}" in report.check("checkpoint").reason
    assert f"of epoch {epoch}" in report.check("finalization").reason
    assert "The Indie (indie, label)" in report.check("issuer").reason


def test_epoch_0_evidence_has_the_files_it_always_had_also_when_later_epochs_are_known() -> None:
    data = make_parts().but(proofs=PROOFS).build()
    assert data == make_parts().build()
    assert tuple(parse_archive(data)) == ordered_names(1, catalogue=False)
    assert verify_bundle(data, TRUSTED, None).verdict is Verdict.VERIFIED
    assert "epoch" not in json.loads(parse_archive(data)[SUMMARY])["recorded"]


def test_a_file_carries_as_many_epochs_as_it_needs() -> None:
    for epoch in range(1, 5):
        files = parse_archive(build_bundle(**arguments(epoch)))
        assert files[EPOCHS] == encode_epochs(TRUSTED.digest, PROOFS[:epoch])
        assert tuple(files) == ordered_names(1, catalogue=False, epochs=True)


def test_a_claim_of_one_epoch_under_a_checkpoint_of_a_later_one_holds() -> None:
    """label, court and indie are a quorum of epoch 3's four, and none of the five before."""
    parts = arguments(1)
    data = build_bundle(**(parts | {"note": note_by(ROSTERS[3], parts["statement"], (0, 1, 3))}))
    assert parse_archive(data)[EPOCHS] == encode_epochs(TRUSTED.digest, PROOFS[:3])
    report = verified(data)
    assert "of epoch 3" in report.check("checkpoint").reason
    assert "of epoch 1" in report.check("finalization").reason
    assert b"# Epoch 3\n" in parse_archive(data)[POLICY]


def test_a_claim_of_epoch_0_under_a_later_checkpoint_holds() -> None:
    parts = arguments(0, issuer="label")
    report = verified(build_bundle(**(parts | {"note": note_by(ROSTERS[3], parts["statement"], (0, 1, 3))})))
    assert "3 are needed" in report.check("finalization").reason
    assert "of epoch" not in report.check("finalization").reason
    assert "of epoch 3" in report.check("checkpoint").reason


def test_a_member_admitted_later_may_export_what_was_recorded_before() -> None:
    """Three founders cosigned: enough for epoch 0, whose record it is, whatever the exporter's epoch needs."""
    parts = arguments(0, issuer="label", exporter="indie")
    data = build_bundle(**(parts | {"note": note_by(TRUSTED.roster, parts["statement"], (0, 1, 2))}))
    assert parse_archive(data)[EPOCHS] == encode_epochs(TRUSTED.digest, PROOFS[:1])
    assert "The Indie" in verified(data).check("exporter").reason


def test_who_was_removed_exports_nothing() -> None:
    with pytest.raises(EvidenceImpossible, match="platform is not a member"):
        build_bundle(**arguments(1, exporter="platform"))
    assert verified(build_bundle(**arguments(1, exporter="platform", now=2)))


def test_an_exporters_new_key_is_found_in_the_epoch_that_has_it() -> None:
    change = RotateKey(
        epoch=Epoch(4), member_id="indie", purpose="export", key=public_key("indie again", "export")
    )  # fmt: skip
    fifth = conclude(ROSTERS[4], amend(ROSTERS[4], change))
    proven = (*PROOFS, handover(ROSTERS[4], fifth))
    parts = arguments(1, proven=proven) | {"sign": private_key("indie again", "export").sign}
    data = build_bundle(**parts)
    assert parse_archive(data)[EPOCHS] == encode_epochs(TRUSTED.digest, proven)
    verified(data, (*ROSTERS, fifth))


def test_the_summary_names_the_epoch_and_the_issuer_by_its_roster() -> None:
    summary = json.loads(parse_archive(build_bundle(**arguments(2)))[SUMMARY])
    assert summary["recorded"]["epoch"] == 2
    assert summary["statement"]["issuer_name"] == "The Indie"


def test_a_vote_is_evidence_like_any_statement() -> None:
    change: Change = Admit(epoch=Epoch(1), member=make_member("radio", Role.PLATFORM))
    data = build_bundle(**arguments(1, issuer="court", content=change))
    report = verified(data)
    assert "a vote on governance, to admit The Radio" in report.check("claim").reason
    vote = json.loads(parse_archive(data)[SUMMARY])["vote"]
    assert (vote["epoch"], vote["to"].startswith("admit The Radio (radio, platform) with a seat")) == (1, True)
    with pytest.raises(EvidenceImpossible, match="holds no claims"):
        build_bundle(**(arguments(1, issuer="court", content=change) | {"position": 0, "claims": (b"x",)}))


# ---- what handovers alone can show -----------------------------------------------------------------------------------


def test_without_another_word_on_the_epochs_it_is_incomplete() -> None:
    """Design D10: retired keys could make another history from the true genesis; no token says they did not."""
    data = build_bundle(**arguments(2))
    for known in ((), ROSTERS[:1], ROSTERS[:2]):
        report = verify_bundle(data, TRUSTED, None, known=known)
        assert report.verdict is Verdict.INCOMPLETE
        assert outcomes(report, Outcome.FAILED) == set()
        assert "whoever holds a quorum of retired keys" in report.check("legal time").reason
    verified(data, ROSTERS[:3])
    verified(data, ROSTERS)


def other_history() -> tuple[EpochProof, ...]:
    """A quorum of founders hands over to somebody else than they did."""
    change = Admit(epoch=Epoch(0), member=make_member("intruder", Role.LABEL))
    return (handover(TRUSTED.roster, conclude(TRUSTED.roster, amend(TRUSTED.roster, change))),)


def test_another_history_from_the_true_genesis_is_refused_by_who_knows_the_epochs() -> None:
    proven = other_history()
    data = build_bundle(**arguments(1, issuer="intruder", exporter="intruder", proven=proven))
    assert verify_bundle(data, TRUSTED, None).verdict is Verdict.INCOMPLETE, "the genesis alone cannot tell"
    report = verify_bundle(data, TRUSTED, None, known=ROSTERS[:2])
    assert report.verdict is Verdict.REFUSED
    assert "Two histories exist" in report.check("epochs").reason


def test_without_a_genesis_later_epochs_are_not_believed_either() -> None:
    report = verify_bundle(build_bundle(**arguments(2)), None, None)
    assert report.verdict is Verdict.INCOMPLETE
    assert not outcomes(report, Outcome.FAILED)
    assert report.check("epochs").outcome is Outcome.NOT_CHECKED


# ---- tampering -------------------------------------------------------------------------------------------------------


def tampered(data: bytes, changes: dict[str, bytes], exporter: str = "indie") -> bytes:
    return reseal(data, changes, Consortium(TRUSTED), exporter)


HONEST = build_bundle(**arguments(2))


def with_epochs(given: Sequence[EpochProof], consortium: Digest = TRUSTED.digest) -> bytes:
    return tampered(HONEST, {EPOCHS: encode_epochs(consortium, given)})


def test_a_handover_by_nobody_is_refused_and_nothing_builds_on_it() -> None:
    forged = replace(PROOFS[1], finalization=certify(ROSTERS[1], PROOFS[1].headers[-1], (0, 1)))
    report = refused_for(with_epochs((PROOFS[0], forged)), "epochs", "do not follow from the genesis")
    assert {"exporter", "issuer", "checkpoint", "policy", "finalization", "summary"} <= outcomes(
        report, Outcome.NOT_CHECKED
    )


def test_a_missing_epoch_is_refused() -> None:
    refused_for(with_epochs(PROOFS[1:2]), "epochs", "not of epoch 0")
    report = refused_for(with_epochs(PROOFS[:1]), "finalization", "proves the validators up to epoch 1")
    assert report.check("epochs").outcome is Outcome.PASSED
    assert report.check("issuer").outcome is Outcome.FAILED


def test_a_part_that_proves_nothing_or_for_others_is_refused() -> None:
    refused_for(with_epochs(()), "epochs", "proves no epoch")
    refused_for(with_epochs(PROOFS[:2], Digest(b"c" * 32)), "epochs", "another consortium")
    refused_for(tampered(HONEST, {EPOCHS: b"no cbor"}), "epochs", "malformed epoch proof")


def test_a_changed_byte_of_the_proofs_is_found() -> None:
    files = parse_archive(HONEST)
    spoilt = bytearray(files[EPOCHS])
    spoilt[len(spoilt) // 2] ^= 1
    report = verify_bundle(tampered(HONEST, {EPOCHS: bytes(spoilt)}), TRUSTED, None, known=ROSTERS)
    assert report.verdict is Verdict.REFUSED


def test_an_epochs_part_where_none_is_due_is_judged_as_any() -> None:
    """It may stand in a file of epoch 0 (an exporter admitted later needs it); an unlisted one may not."""
    data = make_parts().build()
    report = verify_bundle(reseal(data, {EPOCHS: encode_epochs(TRUSTED.digest, PROOFS[:1])}, Consortium(TRUSTED)),
                           TRUSTED, None, known=ROSTERS)  # fmt: skip
    assert report.verdict is Verdict.VERIFIED


def test_a_statement_under_a_key_of_another_epoch_is_refused() -> None:
    """The court's statement key is replaced in epoch 1: what the old key signs in epoch 1 does not count."""
    change = RotateKey(
        epoch=Epoch(0), member_id="court", purpose="statement", key=public_key("court again", "statement")
    )
    following = conclude(TRUSTED.roster, amend(TRUSTED.roster, change))
    proven = (handover(TRUSTED.roster, following),)
    vote: Change = Admit(epoch=Epoch(1), member=make_member("radio", Role.PLATFORM))
    data = build_bundle(**arguments(1, issuer="court", exporter="label", content=vote, proven=proven))
    refused_for(data, "issuer", "names a key")
    before = build_bundle(**arguments(0, signed=0, issuer="court", exporter="label", content=vote, proven=proven))
    assert verify_bundle(before, TRUSTED, None).check("signature").outcome is Outcome.PASSED


def test_a_statement_of_who_is_not_yet_or_no_longer_a_member_is_refused() -> None:
    refused_for(build_bundle(**arguments(0, signed=1, issuer="indie")), "issuer", "is not a member")
    refused_for(build_bundle(**arguments(3, issuer="platform", content=policy_of(3))), "issuer", "is not a member")


def policy_of(epoch: int) -> Content:
    return Admit(epoch=Epoch(epoch), member=make_member("radio", Role.PLATFORM))


def test_a_block_finalized_by_the_committee_of_another_epoch_is_refused() -> None:
    honest = arguments(3)
    (block,) = honest["blocks"]
    before = replace(ROSTERS[1], epoch=Epoch(3))
    forged = build_bundle(**(honest | {"finalization": certify(before, block)}))
    refused_for(forged, "finalization", "not in the committee")


def test_a_quorum_of_the_committee_before_the_block_is_not_enough() -> None:
    """Three founders vouch for epoch 0; epoch 1 has five validators and needs four."""
    honest = arguments(1, now=1)
    note = note_by(TRUSTED.roster, honest["statement"], (0, 1, 2))
    refused_for(build_bundle(**(honest | {"note": note})), "checkpoint", "(4 of 5) is not met")
    of_epoch_0 = arguments(0, issuer="label", now=0, exporter="court")
    verified(build_bundle(**(of_epoch_0 | {"note": note_by(TRUSTED.roster, of_epoch_0["statement"], (0, 1, 2))})))


def test_a_checkpoint_by_a_retired_committee_is_refused() -> None:
    """platform's cosignature counts no more in epoch 3, whose quorum is 3 of label, court, society and indie."""
    honest = arguments(3)
    note = note_by(ROSTERS[2], honest["statement"], (0, 1, 3))
    assert [ROSTERS[2].validator_members()[i].id for i in (0, 1, 3)] == ["label", "court", "platform"]
    refused_for(build_bundle(**(honest | {"note": note})), "checkpoint", "is not met")


def test_the_policy_of_another_epoch_is_refused() -> None:
    wrong = epoch_policy(TRUSTED, ROSTERS[3]).encode()
    refused_for(tampered(HONEST, {POLICY: wrong}), "policy", "follows from the roster of epoch 2")
    files = parse_archive(HONEST)
    assert files[POLICY] == epoch_policy(TRUSTED, ROSTERS[2]).encode()


def test_an_exporter_of_another_epoch_is_refused() -> None:
    """indie's signature under the name of the court, and a member that the last epoch proven does not have."""
    data = reseal(HONEST, {}, Consortium(TRUSTED), "platform")
    refused_for(data, "exporter", "not signed by")
    late = build_bundle(**arguments(3))
    files = parse_archive(late)
    manifest = replace(parse_manifest(files.pop(MANIFEST)), exporter="platform").encode()
    files.pop(MANIFEST_SIGNATURE)
    signature = private_key("platform", "export").sign(manifest)
    again = encode_archive({MANIFEST: manifest, MANIFEST_SIGNATURE: signature, **files})
    refused_for(again, "exporter", "is not a member")


def test_a_summary_with_another_epoch_lies() -> None:
    summary = json.loads(parse_archive(HONEST)[SUMMARY])
    summary["recorded"]["epoch"] = 1
    lie = (json.dumps(summary, indent=2, ensure_ascii=False) + "\n").encode()
    refused_for(tampered(HONEST, {SUMMARY: lie}), "summary", "does not say what the signed files say")


def test_the_genesis_of_another_consortium_proves_nothing_with_these_epochs() -> None:
    other = make_consortium(name="Another").genesis
    report = verify_bundle(HONEST, other, None)
    assert report.verdict is Verdict.REFUSED
    assert {"genesis", "epochs"} <= outcomes(report, Outcome.FAILED)
    assert parse_archive(HONEST)[GENESIS] == TRUSTED.raw


def test_the_checkpoint_file_is_the_one_in_the_log_proof() -> None:
    honest = arguments(2)
    proof = TlogProof(index=INDEX, path=honest["path"], note=parse_note(honest["note"])).encode()
    assert parse_archive(HONEST)[LOG_PROOF] == proof
    assert parse_archive(HONEST)[CHECKPOINT] == honest["note"]
