"""`stretto bridge` as a user runs it, on a real node: key, run, status, costs."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.relay import ChainRelay
from cli.main import main
from cli.output import Exit
from tests.bridge.anvils import SLOTS, free_port
from tests.bridge.service import LedgerService
from tests.bridge.world import Place, key
from tests.contracts.signers import make_signers


@pytest.fixture
def service(place: Place) -> Iterator[LedgerService]:
    made = LedgerService(place.ledger)
    yield made
    made.close()


@pytest.fixture(scope="session")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with key.json and its password, made by the command: making one takes a second, by design."""
    folder = tmp_path_factory.mktemp("key")
    (folder / "password").write_text("correct horse\n")
    (folder / "password").chmod(0o600)
    arguments = ["--out", str(folder / "key.json"), "--password-file", str(folder / "password")]
    assert main(["bridge", "key", *arguments]) == 0
    return folder


@pytest.fixture
def config(place: Place, service: LedgerService, keystore: Path) -> Path:
    folder = place.folder
    for name in ("key.json", "password"):
        shutil.copy(keystore / name, folder)
    place.node.fund(bytes.fromhex(json.loads((folder / "key.json").read_text())["address"].removeprefix("0x")))
    path = folder / "bridge.toml"
    path.write_text(
        f"""
node = "{service.address}"
journal = "journal.sqlite"
deployed = "deployed.toml"
[signer]
keystore = "key.json"
password_file = "password"
[chains.zilliqa]
rpc = ["{place.node.url}"]
fee_cap_gwei = 500
seconds_min = 0
poll_s = 0.1
requests_per_second = 10000
[routes]
trade = "zilliqa"
"""
    )
    (folder / "deployed.toml").write_text(
        f'[chains.zilliqa]\nbridge = "0x{place.deployed.bridge.hex()}"\nstart_block = {place.deployed.start_block}\n'
    )
    return path


def _json(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> Any:
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_run_once_brings_what_lacks_and_ends_when_it_is_final(
    place: Place, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.ledger.grow(6)
    place.node.ask("evm_setIntervalMining", 1)
    try:
        done = _json(capsys, "bridge", "run", "--config", config, "--once", "--deadline", "60")
    finally:
        place.node.ask("evm_setIntervalMining", 0)
        place.node.ask("evm_setAutomine", True)
    (chain,) = done["chains"]
    assert (chain["contract_size"], chain["open"], done["ok"]) == (7, 0, True)
    shown = _json(capsys, "bridge", "status", "--config", config)
    assert shown["chains"][0]["final_size"] == 7
    assert shown["chains"][0]["lag_leaves"] == 0
    assert shown["routes"] == {"trade": "zilliqa"}
    costs = _json(capsys, "bridge", "costs", "--config", config, "--gwei", "zilliqa=5000", "--coin", "zilliqa=0.02")
    (paid,) = costs["paid"]
    assert (paid["operation"], paid["count"]) == ("submit (useful)", 1)
    assert paid["money"] == pytest.approx(paid["coins"] * 0.02)
    submit = next(each for each in costs["measured"] if each["operation"] == "submit")
    assert submit["coins"] == pytest.approx(submit["gas"] * 5e-6)


def test_costs_without_a_price_are_unknown(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _json(capsys, "bridge", "costs", "--config", config)
    assert all(each["coins"] is None and each["money"] is None for each in found["measured"])
    assert main(["bridge", "costs", "--config", str(config)]) == 0
    assert "unknown" in capsys.readouterr().out


def test_run_once_gives_up_with_the_reason(place: Place, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(config.read_text().replace("fee_cap_gwei = 500", "fee_cap_gwei = 0.000000001"))
    place.ledger.grow(2)
    done = _json(capsys, "bridge", "run", "--config", config, "--once", "--deadline", "2", code=Exit.RETRY)
    assert done["chains"][0]["error_kind"] == "FeeOverCap"
    assert place.paid() == []


def test_status_of_a_wrong_chain_names_the_endpoint(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(config.read_text().replace("[chains.zilliqa]", "[chains.zilliqa]\nid = 137"))
    found = _json(capsys, "bridge", "status", "--config", config, code=Exit.UNREACHABLE)
    (endpoint,) = found["chains"][0]["endpoints"]
    assert endpoint["state"] == "refused"
    assert "serves chain id 32769, expected 137" in endpoint["last_error"]


def test_frozen_bridge_is_shown_and_ends_status_with_an_error(
    place: Place, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.ledger.grow(1)
    place.node.ask("anvil_setStorageAt", "0x" + place.deployed.bridge.hex(), *_frozen_slot(place))
    found = _json(capsys, "bridge", "status", "--config", config, code=Exit.REFUSED)
    assert found["chains"][0]["frozen"] is True
    assert main(["bridge", "status", "--config", str(config)]) == Exit.REFUSED
    assert "FROZEN" in capsys.readouterr().out


def _frozen_slot(place: Place) -> tuple[str, str]:
    """The slot that holds `frozen`, and its value with the flag set."""
    address = "0x" + place.deployed.bridge.hex()
    for slot in range(6):
        before = bytes.fromhex(place.node.ask("eth_getStorageAt", address, hex(slot), "latest")[2:])
        if before[24:] == place.ledger.epoch.to_bytes(8, "big"):
            after = before[:7] + b"\x01" + before[8:]
            return "0x" + slot.to_bytes(32, "big").hex(), "0x" + after.hex()
    raise AssertionError("the layout has changed")


def test_running_relayer_serves_metrics_and_ends_cleanly_on_sigterm(place: Place, config: Path) -> None:
    port = free_port()
    config.write_text(f'metrics = "127.0.0.1:{port}"\n' + config.read_text())
    place.ledger.grow(3)
    command = [sys.executable, "-m", "cli.main", "bridge", "run", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            page = ""
            deadline = time.monotonic() + 60
            while 'stretto_bridge_size{chain="zilliqa"} 4.0' not in page and time.monotonic() < deadline:
                time.sleep(0.2)
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                        page = answer.read().decode()
                except OSError:
                    continue
            place.node.mine(2 * SLOTS)
            assert 'stretto_bridge_size{chain="zilliqa"} 4.0' in page
            assert 'stretto_bridge_broadcast_total{chain="zilliqa"} 1.0' in page
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert process.returncode == 0
    assert "Traceback" not in said
    assert "correct horse" not in said
    assert key(0).address.hex() not in said


def test_second_relayer_with_the_same_journal_is_refused(
    place: Place, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from bridge.journal import Journal

    with Journal(config.parent / "journal.sqlite"):
        found = _json(capsys, "bridge", "run", "--config", config, "--once", code=Exit.CONFIG)
    assert "another relayer is running with it" in json.dumps(found)


def test_recovery_set_with_a_validator_in_it_is_refused_before_anything_is_sent(place: Place) -> None:
    from bridge.deploy import check_set, genesis_from
    from bridge.errors import CheckpointRefused

    place.ledger.grow(2)
    validators = make_signers(4)
    shared = tuple(sorted(bytes.fromhex(each[2:]) for each in validators.addresses))

    class FakeRoster:
        consortium = place.ledger.consortium
        epoch = place.ledger.epoch
        chain_validators = dict.fromkeys(shared)

    with pytest.raises(CheckpointRefused, match="SharedSigner"):
        genesis_from(place.ledger, FakeRoster(), check_set("recovery", shared))  # type: ignore[arg-type]
    other = check_set("recovery", tuple(bytes([i]) * 20 for i in range(1, 5)))
    assert genesis_from(place.ledger, FakeRoster(), other).first_entry == place.ledger.entries.entries[0]  # type: ignore[arg-type]


def test_fault_of_our_own_ends_the_process_instead_of_one_chain_silently(
    place: Place, config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: ChainRelay) -> None:
        raise ZeroDivisionError("a fault of our own")

    monkeypatch.setattr(ChainRelay, "round", broken)
    capsys.readouterr()
    assert main(["bridge", "run", "--config", str(config), "--once", "--json"]) == Exit.SOFTWARE
