"""The command lines from a claim to a token and to anchored evidence: four real nodes, and a real anvil node."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from cli.output import Exit
from contracts.toolchain import Unavailable
from ledger.address import read_address
from ledger.errors import MalformedTerms
from ledger.evidence import Outcome, Verdict, verify_bundle
from ledger.rights_content import Dispute
from tests.bridge.anvils import AnvilNode
from tests.e2e.minting import RECOVERY
from tests.e2e.running import RunningDevnet
from tests.ledger.builders import make_catalogue, make_claim


class Office:
    """A label's desk: bridge.toml, keystores, and a shell."""

    def __init__(self, running: RunningDevnet, chain: AnvilNode, folder: Path) -> None:
        self.running, self.chain, self.folder = running, chain, folder
        self.genesis = running["label"].config.directory.parent / "genesis.json"
        self.statement_key = running["label"].config.key_path("statement")
        (folder / "recovery.txt").write_text("".join(f"0x{address.hex()}\n" for address in RECOVERY))
        self.accounts = {name: self.keystore(name) for name in ("relayer", "minter")}
        (folder / "bridge.toml").write_text(
            f'node = "{running["label"].config.rpc}"\njournal = "journal.sqlite"\ndeployed = "deployed.toml"\n'
            '[signer]\nkeystore = "relayer.json"\npassword_file = "relayer.pass"\n'
            f'[routes]\ntrade = "polygon"\n[chains.polygon]\nrpc = ["{chain.url}"]\nfee_cap_gwei = 500.0\n'
            "poll_s = 0.1\nfinality_blocks = 1\n"
        )

    def keystore(self, name: str) -> str:
        password = self.folder / f"{name}.pass"
        password.write_text("a long enough password\n")
        password.chmod(0o600)
        made = self.ok("bridge", "key", "--out", self.folder / f"{name}.json", "--password-file", password)
        self.chain.fund(read_address(made["address"], "address", MalformedTerms))
        return str(made["address"])

    def run(self, *words: object, config: bool = False) -> subprocess.CompletedProcess[str]:
        """In this process: each of its own would import web3 again."""
        command = [*map(str, words), "--json"]
        if config:
            command += ["--config", str(self.folder / "bridge.toml")]
        said = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
        with contextlib.redirect_stdout(said[0]), contextlib.redirect_stderr(said[1]):
            code = main(command)
        out, err = (each.buffer.getvalue().decode() for each in said)  # type: ignore[attr-defined]
        return subprocess.CompletedProcess(command, code, out, err)

    def ok(self, *words: object, config: bool = False) -> Any:
        ended = self.run(*words, config=config)
        assert ended.returncode == Exit.OK, ended.stdout + ended.stderr
        return json.loads(ended.stdout)

    def refused(self, *words: object, code: Exit, says: str) -> None:
        """Ends so, says so, and no account has paid."""
        before = self.paid()
        ended = self.run(*words, config=True)
        assert (ended.returncode, says in ended.stderr) == (code, True), ended.stdout + ended.stderr
        assert self.paid() == before

    def paid(self) -> dict[str, Any]:
        return {name: self.chain.ask("eth_getTransactionCount", who, "latest") for name, who in self.accounts.items()}

    def try_to_prepare(self, name: str, claim: str, *words: object) -> subprocess.CompletedProcess[str]:
        return self.run(
            "mint", "prepare", claim, "--minter", self.accounts["minter"], "--key", self.statement_key, "--genesis",
            self.genesis, "--node", self.running["label"].config.rpc, "--out", self.folder / name, *words, config=True,
        )  # fmt: skip

    def prepare(self, name: str, claim: str, *words: object) -> Any:
        ended = self.try_to_prepare(name, claim, *words)
        assert ended.returncode == Exit.OK, ended.stdout + ended.stderr
        return json.loads(ended.stdout)

    def minter(self) -> tuple[object, ...]:
        return ("--keystore", self.folder / "minter.json", "--password-file", self.folder / "minter.pass")


@pytest.fixture(scope="module")
def office(running: RunningDevnet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    try:
        chain = AnvilNode("polygon", block_s=None)
    except Unavailable as error:
        pytest.skip(str(error))
    try:
        running.record("label", running.sign(make_claim(90_000)))
        made = Office(running, chain, tmp_path_factory.mktemp("office"))
        made.ok("bridge", "deploy", "--chain", "polygon", "--recovery", made.folder / "recovery.txt", "--genesis",
                made.genesis, config=True)  # fmt: skip
        yield made
    finally:
        chain.close()


def test_from_a_claim_to_a_token_to_anchored_evidence(office: Office) -> None:
    """A claim of a catalogue, so that its position matters too."""
    running, folder = office.running, office.folder
    catalogue = make_catalogue(5)
    recorded = running.client("label").submit(running.sign(catalogue.header), (catalogue.manifest, *catalogue.chunks))
    claim = recorded.digest.hex()
    (folder / "terms.toml").write_text('sale_floor = "50000000000000000"\nroyalty = 1800\n')
    prepared = office.prepare("autumn", claim, "--position", 3, "--terms", folder / "terms.toml", "--royalty", 1900)
    terms = prepared["terms"]
    assert (terms["position"], terms["royalty"], terms["sale_floor"]) == (3, 1900, "50000000000000000")
    shares = [terms[f"{who}_share"] for who in ("creator", "curator", "collector", "platform")]
    assert shares == [7000, 1500, 1000, 500]
    assert json.loads((folder / "autumn.terms.json").read_text())["token"] == prepared["token"]

    submit = ("mint", "submit", folder / "autumn.mint.stretto", *office.minter(), "--relay")
    minted = office.ok(*submit, config=True)
    assert minted["token"] == prepared["token"]
    paid = office.paid()
    assert office.ok(*submit, config=True)["transaction"] is None
    assert office.paid() == paid
    status = office.ok("mint", "status", folder / "autumn.mint.stretto", config=True)
    assert (status["minted"], status["covered"], status["chain_status"]) == (True, True, "active")
    assert status["owner"].lower() == office.accounts["minter"].lower()

    office.chain.mine(3)
    name, token = f"polygon/{minted['token']}", folder / "autumn.token.zip"
    verified = office.ok("bridge", "verify", name, "--genesis", office.genesis, "--out", token, config=True)
    assert {check["outcome"] for check in verified["checks"]} == {"PASSED"}
    again = office.ok("bridge", "verify", "--file", token, "--genesis", office.genesis, config=True)
    assert again["verdict"] == "VERIFIED"
    offline = office.run("bridge", "verify", "--file", token, "--genesis", office.genesis, "--offline")
    assert offline.returncode == Exit.INCOMPLETE
    open_ = [check["name"] for check in json.loads(offline.stdout)["checks"] if check["outcome"] == "NOT_CHECKED"]
    assert open_ == ["contract", "checkpoint", "token", "standing"]

    bundle, anchored, node = folder / "song.zip", folder / "anchored.zip", running["court"].config.rpc
    office.ok("evidence", "get", "--statement", claim, "--position", 3, "--out", bundle, "--node", node)
    made = office.ok("bridge", "anchor", "polygon", "--evidence", bundle, "--out", folder / "anchors", config=True)
    office.ok("evidence", "anchor", bundle, folder / "anchors", "--out", anchored, "--node", node)
    report = verify_bundle(anchored.read_bytes(), running.genesis, None)
    assert report.verdict is Verdict.VERIFIED
    assert report.check("anchor").outcome is Outcome.PASSED
    assert f"in block {made['block']} (number {made['number']})" in report.check("anchor").reason
    on_chain = office.chain.ask("eth_getBlockByNumber", hex(made["number"]), False)
    assert on_chain["hash"] == made["block"]
    both = folder / "both.zip"
    office.ok("evidence", "get", "--statement", claim, "--position", 3, "--out", both, "--node", node, "--anchors",
              folder / "anchors")  # fmt: skip
    assert verify_bundle(both.read_bytes(), running.genesis, None).check("anchor").outcome is Outcome.PASSED


def test_dispute_reaches_the_token_by_whoever_brings_it(office: Office) -> None:
    running, folder = office.running, office.folder
    claim = running.record("label", running.sign(make_claim(90_001))).digest
    minted = office.prepare("winter", claim.hex())
    file = folder / "winter.mint.stretto"
    office.ok("mint", "submit", file, *office.minter(), "--relay", config=True)
    running.record("label", running.sign(Dispute(claim=claim, position=0, grounds="Ours."), issuer="society"))
    ahead = office.ok("mint", "status", file, config=True)
    assert (ahead["ledger_seq"], ahead["chain_seq"], ahead["chain_status"]) == (1, 0, "active")
    pushed = office.ok("mint", "status", file, "--push", "--relay", config=True)
    assert (pushed["chain_seq"], pushed["chain_status"]) == (1, "disputed")
    office.chain.mine(3)
    verified = office.run("bridge", "verify", f"polygon/{minted['token']}", "--genesis", office.genesis, config=True)
    assert verified.returncode == Exit.REFUSED
    standing = json.loads(verified.stdout)["checks"][-1]
    assert standing["name"] == "standing"
    assert standing["reason"].startswith("The chain has the claim as DISPUTED")
    ended = office.try_to_prepare("spring", claim.hex())
    assert (ended.returncode, "the claim is disputed" in ended.stderr) == (Exit.REFUSED, True)


def test_what_cannot_be_minted_says_why_and_costs_nothing(office: Office) -> None:
    running, folder = office.running, office.folder
    claim = running.record("label", running.sign(make_claim(90_002))).digest.hex()
    office.prepare("summer", claim)
    file = folder / "summer.mint.stretto"
    office.refused("mint", "submit", file, code=Exit.REFUSED, says="WrongMinter")  # with the relayer's key
    office.refused(
        "mint", "submit", file, *office.minter(), "--deadline", 2, code=Exit.RETRY, says="the leaf is number"
    )
    wrong = (folder / "bridge.toml").read_text().replace("polygon]", "polygon]\nid = 1")
    (folder / "other.toml").write_text(wrong)
    ended = office.run("mint", "submit", file, *office.minter(), "--config", folder / "other.toml")
    assert (ended.returncode, "the terms are for chain 137" in ended.stderr) == (Exit.CONFIG, True), ended.stderr
    office.refused("mint", "status", file, "--push", code=Exit.REFUSED, says="NoStatus")
    office.refused("bridge", "verify", f"polygon/0x{'11' * 32}", code=Exit.REFUSED, says="the ledger has no MINT leaf")
    office.refused("bridge", "verify", "polygon", code=Exit.USAGE, says="expected CHAIN/ID")
    office.refused("mint", "submit", office.genesis, code=Exit.DATA, says="")
    office.refused("bridge", "anchor", "polygon", "--entry", 10_000, "--out", folder / "none", code=Exit.RETRY,
                   says="accepted no checkpoint over entry 10000")  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--curator-share", 1600), Exit.DATA, "10000 together"),
        (("--royalty", 1000), Exit.DATA, "royalty"),
        (("--payee", "0x12"), Exit.USAGE, "ADDRESS=SHARE"),
        (("--payee", "0x" + "11" * 20 + "=6000"), Exit.DATA, "payees"),
        (("--chain", "nowhere"), Exit.CONFIG, "chains.nowhere"),
        (("--purpose", "deposit"), Exit.CONFIG, "routes.deposit"),
        (("--edition", 2), Exit.DATA, "edition"),
        (("--sale-floor", "1.5"), Exit.USAGE, "--sale-floor"),
    ],
)
def test_terms_that_cannot_be_are_named_by_field(
    office: Office, words: tuple[object, ...], code: Exit, says: str
) -> None:
    claim = office.running.record("label", office.running.sign(make_claim(90_003))).digest.hex()
    ended = office.try_to_prepare("never", claim, *words)
    assert (ended.returncode, says in ended.stderr) == (code, True), ended.stderr
    assert not (office.folder / "never.mint.stretto").exists()


def test_mint_that_a_reorganisation_took_back_is_sent_again_and_paid_once(office: Office) -> None:
    """With the checkpoint before it, and without: the same bytes, since the journal has them."""
    claim = office.running.record("label", office.running.sign(make_claim(90_004))).digest.hex()
    for depth, name in ((1, "first"), (2, "second")):
        edition = {"first": 1, "second": 2}[name]
        office.prepare(name, claim, "--edition", edition, "--editions", 2)
        submit = ("mint", "submit", office.folder / f"{name}.mint.stretto", *office.minter(), "--relay")
        minted = office.ok(*submit, config=True)
        office.chain.reorganise(depth)
        status = office.ok("mint", "status", office.folder / f"{name}.mint.stretto", config=True)
        assert status["minted"] is False
        again = office.ok(*submit, config=True)
        assert again["transaction"] == minted["transaction"]
        assert office.ok("mint", "status", office.folder / f"{name}.mint.stretto", config=True)["minted"]
