"""What happens to a claim on real nodes, said at the command line: disputed, answered, stayed, minted, replaced."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from catalog.submission import Submission
from cli.output import Exit
from ledger.rights_content import Mint
from tests.e2e.running import RunningDevnet, until
from tests.ledger.builders import make_claim
from tests.ledger.rights_builders import make_terms

STAY_S = 3.0


class Court:
    """Members at their command lines, about one claim of the label's."""

    def __init__(self, running: RunningDevnet, folder: Path) -> None:
        self.running, self.folder = running, folder
        self.genesis = running["label"].config.directory.parent / "genesis.json"
        recorded = running.record("label", running.sign(make_claim(70_001)))
        self.claim = recorded.digest.hex()

    def run(self, *words: object, by: str = "", node: str = "label") -> subprocess.CompletedProcess[str]:
        signs = ("--key", self.running[by].config.key_path("statement"), "--genesis", self.genesis) if by else ()
        command = [sys.executable, "-m", "cli.main", "rights", *words, *signs, "--node", self.running[node].config.rpc]
        return subprocess.run(
            [*map(str, command), "--json"], capture_output=True, text=True, check=False, timeout=120
        )  # fmt: skip

    def prove(self, statement: str, told: str) -> None:
        """Evidence of it, handed out by another node and verified by the genesis alone."""
        out = self.folder / f"{statement[:8]}.zip"
        get = ("get", "--statement", statement, "--out", out, "--node", self.running["society"].config.rpc)
        verify = ("verify", out, "--genesis", self.genesis)
        for words in (get, verify):
            command = [sys.executable, "-m", "cli.main", "evidence", *map(str, words), "--json"]
            ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
            assert ended.returncode == Exit.OK, ended.stdout + ended.stderr
        assert told in ended.stdout

    def query(self, statement: str) -> str:
        """What the record says of a statement that holds no claim."""
        node = self.running["platform"].config.rpc
        command = [sys.executable, "-m", "cli.main", "query", "--statement", statement, "--node", node]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert ended.returncode == Exit.OK, ended.stderr
        return ended.stdout

    def say(self, *words: object, by: str) -> str:
        """Said and final: the statement's digest."""
        ended = self.run(*words, by=by)
        assert ended.returncode == Exit.OK, ended.stderr
        answer = json.loads(ended.stdout)
        assert answer["state"] == "FINAL"
        found: str = answer["statement"]
        return found

    def refused(self, *words: object, by: str) -> str:
        """The code."""
        ended = self.run(*words, by=by)
        assert ended.returncode == Exit.REFUSED, ended.stdout + ended.stderr
        code: str = json.loads(ended.stdout)["code"]
        return code

    def show(self, claim: str = "", node: str = "label") -> Any:
        ended = self.run("show", claim or self.claim, node=node)
        assert ended.returncode == Exit.OK, ended.stderr
        return json.loads(ended.stdout)

    @property
    def mints(self) -> list[tuple[int, str, int]]:
        return [(mint["edition"], mint["state"], mint["status_seq"]) for mint in self.show()["mints"]]


@pytest.mark.slow
def test_a_claim_goes_through_all_that_members_and_courts_say(running: RunningDevnet, tmp_path: Path) -> None:
    court = Court(running, tmp_path)
    shown = court.show()
    assert (shown["state"], shown["holder"], shown["head"]) == ("active", "label", court.claim)
    _minted(court)
    disputed = _disputed_and_dropped(court)
    _stayed_until_it_lapses(court)
    _assigned_and_transferred_back(court)
    replaced = _replaced(court)
    running.agree(running.status("label").size)
    court.prove(disputed, "Our recording of 2019.")
    assert "Our recording of 2019." in court.query(disputed)
    court.prove(replaced, "The signed statement is itself the claim")


def _minted(court: Court) -> None:
    running = court.running
    for edition in (1, 2):
        terms = make_terms(claim=bytes.fromhex(court.claim), edition=edition, editions=2)
        assert running.record("label", running.sign(Mint(terms=terms))).state.name == "FINAL"
    assert court.mints == [(1, "active", 0), (2, "active", 0)]
    again = make_terms(claim=bytes.fromhex(court.claim), edition=2, editions=2, title="Another")
    refusal = running.record("label", running.sign(Mint(terms=again))).refusal
    assert refusal is not None
    assert refusal.code == "RIGHTS_EDITION_LIVE"


def _disputed_and_dropped(court: Court) -> str:
    """Who saw the claim before the dispute changes nothing after it. The DISPUTE's digest."""
    seen = court.show()["head"]
    assert court.refused("dispute", court.claim, "--grounds", "Mine.", by="label") == "RIGHTS_OWN_CLAIM"
    dispute = court.say("dispute", court.claim, "--grounds", "Our recording of 2019.", by="society")
    shown = court.show()
    assert (shown["state"], shown["head"]) == ("disputed", dispute)
    assert shown["disputes"] == [{"statement": dispute, "disputant": "society", "responded": False}]
    assert court.mints == [(1, "disputed", 1), (2, "disputed", 1)]
    assert court.refused("withdraw", court.claim, "--reason", "x", "--head", seen, by="label") == "RIGHTS_STALE_HEAD"
    assert court.refused("transfer", court.claim, "--to", "society", by="label") == "RIGHTS_DISPUTED"
    court.say("respond", court.claim, "--dispute", dispute, "--text", "Licensed.", by="label")
    assert court.show()["disputes"][0]["responded"] is True
    court.say("resolve", court.claim, "--dispute", dispute, "--outcome", "dropped", by="society")
    assert (court.show()["state"], court.mints) == ("active", [(1, "active", 3), (2, "active", 3)])
    return dispute


def _stayed_until_it_lapses(court: Court) -> None:
    """By the first block at or after the time, whatever that block is about."""
    ends = datetime.now(UTC) + timedelta(seconds=STAY_S)
    order = court.say(
        "order", "stay", court.claim, "--reference", "HCA 12/2026", "--until", ends.isoformat(), by="court"
    )
    shown = court.show()
    assert (shown["state"], shown["stay"]) == ("disputed", order)
    assert shown["stay_until_ms"] == round(ends.timestamp() * 1000)
    until(lambda: datetime.now(UTC) > ends + timedelta(milliseconds=200), "the stay's end")
    court.running.record("society", court.running.sign(make_claim(70_002), issuer="society"))
    until(lambda: court.show()["state"] == "active", "the stay lapses")
    assert court.mints == [(1, "active", 5), (2, "active", 5)]


def _assigned_and_transferred_back(court: Court) -> None:
    court.say("order", "assign", court.claim, "--reference", "HCA 12/2026", "--to", "society", by="court")
    assert court.show()["holder"] == "society"
    assert court.refused("withdraw", court.claim, "--reason", "x", by="label") == "RIGHTS_NOT_HOLDER"
    court.say("transfer", court.claim, "--to", "label", by="society")
    assert (court.show()["holder"], court.mints) == ("label", [(1, "active", 7), (2, "active", 7)])


def _replaced(court: Court) -> str:
    """By a claim from a file, which is sent only inside the SUPERSEDE. Its digest."""
    running, path = court.running, court.folder / "corrected.stretto"
    corrected = make_claim(70_003)
    path.write_bytes(Submission(statement=running.sign(corrected)).encode())
    supersede = court.say("supersede", court.claim, "--replacement", path, "--mints", "keep", by="label")
    old, new = court.show(), court.show(supersede)
    assert (old["state"], old["superseded_by"], old["mints"]) == ("superseded", supersede, [])
    assert (new["state"], new["holder"], new["head"]) == ("active", "label", supersede)
    assert [(mint["edition"], mint["status_seq"]) for mint in new["mints"]] == [(1, 8), (2, 8)]
    found = list(running.client("label").claims(isrc=corrected.isrc))
    assert [(each.statement.hex(), each.position, each.claim) for each in found] == [(supersede, 0, corrected.encode())]
    assert court.refused("withdraw", court.claim, "--reason", "x", by="label") == "RIGHTS_SUPERSEDED"
    court.say("order", "revoke", supersede, "--reference", "HCA 14/2026", by="court")
    assert {mint["state"] for mint in court.show(supersede)["mints"]} == {"revoked"}
    return supersede
