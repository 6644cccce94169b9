"""bridge.toml: every field checked, a wrong or unknown one named, and no key of a URL repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config import BridgeConfig, ConfigError, KeystoreConfig, Pkcs11Config, load_config
from bridge.deploy import Deployed, addresses_toml, write_addresses
from bridge.fees import GWEI

FULL = """
node = "127.0.0.1:5101"
journal = "journal.sqlite"
relayer = 1
relayers = 4
metrics = "127.0.0.1:6201"
deployed = "deployed.toml"

[signer]
keystore = "relayer.json"
password_file = "relayer.password"

[chains.zilliqa]
rpc = ["https://rpc.example/zilliqa"]
fee_cap_gwei = 10000
tip_gwei = 1
bridge = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"

[chains.polygon]
rpc = ["https://rpc.example/polygon/5ecret", "http://127.0.0.1:8545"]
fee_cap_gwei = 500.5
leaves_min = 100
seconds_min = 600

[chains.ethereum]
rpc = ["https://rpc.example/ethereum"]
fee_cap_gwei = 50
finality_blocks = 64

[routes]
deposit = "polygon"
trade = "zilliqa"
high_value = "ethereum"
"""


def load(folder: Path, text: str = FULL) -> BridgeConfig:
    path = folder / "bridge.toml"
    path.write_text(text)
    return load_config(path)


def test_three_chains_by_policy(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert {chain.name: chain.id for chain in config.chains.values()} == {
        "zilliqa": 32769,
        "polygon": 137,
        "ethereum": 1,
    }
    assert [config.chain_for(each).name for each in ("deposit", "trade", "high_value")] == [
        "polygon",
        "zilliqa",
        "ethereum",
    ]
    assert config.chains["polygon"].fees.cap == round(500.5 * GWEI)
    assert config.chains["polygon"].fees.tip_cap == config.chains["polygon"].fees.cap
    assert config.signer == KeystoreConfig(
        keystore=tmp_path / "relayer.json", password_file=tmp_path / "relayer.password"
    )
    assert config.evidence == tmp_path / "contradictions"


def test_key_in_a_module(tmp_path: Path) -> None:
    text = FULL.replace(
        'keystore = "relayer.json"\npassword_file = "relayer.password"',
        'module = "/usr/lib/softhsm/libsofthsm2.so"\ntoken = "relayer"\nkey = "gas"\npin_file = "pin"',
    )
    found = load(tmp_path, text).signer
    assert isinstance(found, Pkcs11Config)
    assert (found.token, found.key, found.pin_file) == ("relayer", "gas", tmp_path / "pin")


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('node = "127.0.0.1:5101"', "", "node"),
        ('node = "127.0.0.1:5101"', 'node = "nowhere"', "node"),
        ("relayer = 1", "relayer = 4", "relayer"),
        ("relayers = 4", "relayers = 65", "relayers"),
        ("relayers = 4", "relayers = 4\nrelayerz = 4", "relayerz"),
        ('metrics = "127.0.0.1:6201"', 'metrics = "0.0.0.0:6201"', "metrics"),
        ('metrics = "127.0.0.1:6201"', 'metrics = "6201"', "metrics"),
        ("[signer]", "[signer]\nkey = 7", "signer.key"),
        ('password_file = "relayer.password"', "", "signer.password_file"),
        ("fee_cap_gwei = 10000\n", "", "chains.zilliqa.fee_cap_gwei"),
        ("fee_cap_gwei = 10000", "fee_cap_gwei = 0", "chains.zilliqa.fee_cap_gwei"),
        ("fee_cap_gwei = 10000", 'fee_cap_gwei = "much"', "chains.zilliqa.fee_cap_gwei"),
        ("tip_gwei = 1", "tip_gwei = 20000", "chains.zilliqa.tip_gwei"),
        ("tip_gwei = 1", "tip = 1", "chains.zilliqa.tip"),
        ("leaves_min = 100", "leaves_min = 0", "chains.polygon.leaves_min"),
        ("leaves_min = 100", "leaves_min = true", "chains.polygon.leaves_min"),
        ("seconds_min = 600", "seconds_min = 600\nseconds_max = 60", "chains.polygon.seconds_max"),
        ("seconds_min = 600", "seconds_min = 600\nread_quorum = 3", "chains.polygon.read_quorum"),
        ("seconds_min = 600", "seconds_min = 600\nid = 1", "chains"),
        ("[chains.ethereum]", "[chains.other]", "chains.other.id"),
        ("[chains.ethereum]", "[chains.Ethereum]", "chains.Ethereum"),
        ('["https://rpc.example/ethereum"]', "[]", "chains.ethereum.rpc"),
        ('["https://rpc.example/ethereum"]', '["ftp://rpc.example"]', "chains.ethereum.rpc"),
        ('["https://rpc.example/ethereum"]', '["https://user:pass@rpc.example"]', "chains.ethereum.rpc"),
        ('["https://rpc.example/ethereum"]', '["https://"]', "chains.ethereum.rpc"),
        ('["https://rpc.example/ethereum"]', '["https://[]/"]', "chains.ethereum.rpc"),
        ('["https://rpc.example/ethereum"]', '["https://rpc.example:99999/"]', "chains.ethereum.rpc"),
        ('["https://rpc.example/ethereum"]', '"https://rpc.example"', "chains.ethereum.rpc"),
        ("Ef1BeAed", "Ef1BeAee", "chains.zilliqa.bridge"),
        ("5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "5aAe", "chains.zilliqa.bridge"),
        ("5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0" * 40, "chains.zilliqa.bridge"),
        ('deposit = "polygon"', 'deposit = "solana"', "routes.deposit"),
        ('deposit = "polygon"', 'gift = "polygon"', "routes.gift"),
        ('deposit = "polygon"', "deposit = 7", "routes.deposit"),
    ],
)  # fmt: skip
def test_wrong_field_is_named(tmp_path: Path, old: str, new: str, field: str) -> None:
    assert old in FULL
    with pytest.raises(ConfigError) as said:
        load(tmp_path, FULL.replace(old, new))
    assert said.value.field == field
    assert "5ecret" not in str(said.value)


def test_url_with_a_key_is_in_no_word_of_the_configuration(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert "5ecret" not in repr(config)
    with pytest.raises(ConfigError) as said:
        load(tmp_path, FULL.replace('"https://rpc.example/polygon/5ecret"', '"wss://rpc.example/polygon/5ecret"'))
    assert "5ecret" not in str(said.value)


@pytest.mark.parametrize("text", ["node = ", "x" * 70_000, "a = " + "[" * 5000])
def test_what_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path, text)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="readable file"):
        load_config(tmp_path / "none.toml")


# ---- addresses that `deploy` writes ----------------------------------------------------------------------------------

PLACES = Deployed(bridge=b"\x0a" * 20, nft=b"\x0b" * 20, start_block=77, gas=1)


def test_addresses_of_a_deployment_are_taken_over(tmp_path: Path) -> None:
    write_addresses(tmp_path / "deployed.toml", "polygon", PLACES)
    write_addresses(tmp_path / "deployed.toml", "ethereum", PLACES)
    config = load(tmp_path)
    for name in ("polygon", "ethereum"):
        chain = config.chains[name]
        assert (chain.bridge, chain.nft, chain.start_block) == (PLACES.bridge, PLACES.nft, 77)


def test_deployment_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "deployed.toml"
    write_addresses(path, "polygon", PLACES)
    before = path.read_text()
    with pytest.raises(ConfigError, match="take them out"):
        write_addresses(path, "polygon", PLACES)
    assert path.read_text() == before


def test_address_in_both_files_is_refused(tmp_path: Path) -> None:
    write_addresses(tmp_path / "deployed.toml", "zilliqa", PLACES)
    with pytest.raises(ConfigError, match="only once"):
        load(tmp_path)


def test_printed_table_can_be_pasted(tmp_path: Path) -> None:
    table = addresses_toml({"polygon": {"bridge": "0x" + "0a" * 20, "start_block": 5}})
    lines = [line for line in table.splitlines() if line and not line.startswith(("#", "["))]
    text = FULL.replace("[chains.polygon]", "\n".join(["[chains.polygon]", *lines]))
    assert load(tmp_path, text).chains["polygon"].bridge == b"\x0a" * 20
