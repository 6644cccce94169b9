"""From real nodes to a real chain: deploy a bridge, relay what validators signed, see it final (anvil)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from cli.output import Exit
from contracts.toolchain import Unavailable
from tests.bridge.anvils import AnvilNode
from tests.contracts.signers import make_signers
from tests.e2e.running import RunningDevnet, until
from tests.ledger.builders import make_claim


@pytest.fixture
def chain() -> Iterator[AnvilNode]:
    try:
        made = AnvilNode("polygon", slots=1)
    except Unavailable as error:
        pytest.skip(f"anvil comes from npm: {error}")
    yield made
    made.close()


def run(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = Exit.OK) -> Any:
    capsys.readouterr()
    assert main(["bridge", *map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_devnets_log_is_anchored(
    running: RunningDevnet, chain: AnvilNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running.record("label", running.sign(make_claim(31)))
    genesis, config = tmp_path / "genesis.json", tmp_path / "bridge.toml"
    genesis.write_bytes(running.genesis.raw)
    (tmp_path / "password").write_text("for tests\n")
    (tmp_path / "password").chmod(0o600)
    made = run(capsys, "key", "--out", tmp_path / "key.json", "--password-file", tmp_path / "password")
    chain.fund(bytes.fromhex(made["address"][2:]))
    (tmp_path / "recovery.txt").write_text("\n".join(make_signers(4, "recovery").addresses))
    config.write_text(
        f'node = "{running["court"].config.rpc}"\njournal = "journal.sqlite"\ndeployed = "deployed.toml"\n'
        '[signer]\nkeystore = "key.json"\npassword_file = "password"\n'
        f'[chains.polygon]\nrpc = ["{chain.url}"]\nfee_cap_gwei = 500\nseconds_min = 0\npoll_s = 0.3\n'
        "requests_per_second = 1000\n"
    )
    named = ("--config", config)

    def deployed() -> Any:
        """Once validators have signed for chains, which takes a second or two."""
        arguments = [
            "deploy",
            *named,
            "--chain",
            "polygon",
            "--recovery",
            tmp_path / "recovery.txt",
            "--genesis",
            genesis,
        ]
        capsys.readouterr()
        code = main(["bridge", *map(str, arguments), "--json"])
        out = capsys.readouterr().out
        return json.loads(out) if code == Exit.OK else None

    place = until(deployed, "a checkpoint for chains", 60)
    assert place["id"] == 137
    assert run(capsys, "deploy", *named, "--chain", "polygon", "--recovery", tmp_path / "recovery.txt",
               "--genesis", genesis, code=Exit.CANNOT_CREATE)  # fmt: skip
    running.record("society", running.sign(make_claim(32)))
    size = running.client("label").status().size

    def relayed() -> bool:
        found = run(capsys, "run", *named, "--once", "--deadline", "120")
        return bool(found["chains"][0]["contract_size"] >= size)

    assert until(relayed, "the new statement on the chain", 120)
    (shown,) = run(capsys, "status", *named)["chains"]
    assert shown["final_size"] >= size
    assert shown["frozen"] is False
    root = running.client("label").consistency_proof(1, shown["size"]).to_root
    assert shown["root"] == root.hex()
    paid = run(capsys, "costs", *named)["paid"]
    assert {each["operation"] for each in paid} >= {"deploy CheckpointBridge (useful)", "submit (useful)"}
    assert all("(duplicate)" not in each["operation"] for each in paid)
