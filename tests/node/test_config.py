"""A node's config.toml: what is right is read; whatever is wrong is named with its field, its value and the mend."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import config
from node.config import CONFIG_BYTES_MAX, STORE_BYTES_MIN, ConfigError, is_loopback, load_config

GOOD = """\
member = "court"
listen = "/ip4/127.0.0.1/tcp/4101"
rpc = "127.0.0.1:5101"
"""
PEERS = '[peers]\nlabel = "/ip4/127.0.0.1/tcp/4102"\nplatform = "/dns4/node.example/tcp/4103"\n'


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "config.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(folder: Path, text: str | bytes) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(write(folder, text))
    assert str(folder) in str(caught.value), "an operator of many nodes must see which file"
    return caught.value


def replaced(line: str, *, extra: str = "") -> str:
    """The good file with the line of the same key replaced, and more top-level lines."""
    key = line.partition(" ")[0]
    kept = [old for old in GOOD.splitlines() if old.partition(" ")[0] != key]
    return "\n".join([*kept, line, extra, PEERS])


def test_good_file_is_read(tmp_path: Path) -> None:
    got = load_config(write(tmp_path, GOOD + PEERS))
    assert (got.member, got.listen, got.rpc) == ("court", "/ip4/127.0.0.1/tcp/4101", "127.0.0.1:5101")
    assert got.peers == {"label": "/ip4/127.0.0.1/tcp/4102", "platform": "/dns4/node.example/tcp/4103"}
    assert got.directory == tmp_path
    assert got.gossip is False
    assert got.tls_cert is None
    assert got.key_path("log") == tmp_path / "keys" / "log.pem"
    assert got.genesis_path == tmp_path / "genesis.json"
    assert got.submit_socket == tmp_path / "submit.sock"
    assert (got.chain_path, got.voting_path) == (tmp_path / "data" / "chain", tmp_path / "data" / "voting")


def test_relative_path_of_the_file_gives_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, GOOD + PEERS)
    monkeypatch.chdir(tmp_path)
    assert load_config(Path("config.toml")).directory == tmp_path


def test_every_option_can_be_set(tmp_path: Path) -> None:
    options = 'gossip = true\nstore_bytes_max = 1073741824\ntls_cert = "tls/cert.pem"\ntls_key = "/etc/key.pem"\n'
    got = load_config(write(tmp_path, GOOD + options + 'tls_client_ca = "ca.pem"\n' + PEERS))
    assert (got.gossip, got.store_bytes_max) == (True, 2**30)
    assert got.tls_cert == tmp_path / "tls" / "cert.pem", "relative to the file, not to where the command runs"
    assert got.tls_key == Path("/etc/key.pem")
    assert got.tls_client_ca == tmp_path / "ca.pem"


@pytest.mark.parametrize("field", ["member", "listen", "rpc"])
def test_missing_field_is_named(tmp_path: Path, field: str) -> None:
    text = "\n".join(line for line in GOOD.splitlines() if not line.startswith(field)) + "\n" + PEERS
    assert refused(tmp_path, text).field == field


def test_missing_peers_are_named(tmp_path: Path) -> None:
    assert refused(tmp_path, GOOD).field == "peers"


def test_misspelt_field_is_named_with_its_own_value_and_the_fields_that_exist(tmp_path: Path) -> None:
    error = refused(tmp_path, 'zzz = "last"\ngosip = "first"\n' + GOOD + PEERS)
    assert (error.field, error.value) == ("gosip", "first")
    for known in ("gossip", "listen", "member", "peers", "rpc", "store_bytes_max", "tls_cert"):
        assert known in error.expected
    for internal in ("directory", "rpc_host", "rpc_port"):
        assert internal not in error.expected, "nobody may write this into the file"


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("member = 7", "member"),
        ('member = "Court"', "member"),
        ('member = ""', "member"),
        ('member = "court\\n"', "member"),
        (f'member = "{"a" * 33}"', "member"),
        ('listen = "127.0.0.1:4101"', "listen"),
        ('listen = "/ip4/127.0.0.1/udp/4101"', "listen"),
        ('listen = "/ip4/127.0.0.1/tcp/65536"', "listen"),
        ('listen = "/ip4/127.0.0.1/tcp/4101\\n"', "listen"),
        ('listen = "/ip4/127.0.0.256/tcp/4101"', "listen"),
        ('listen = "/ip4/::1/tcp/4101"', "listen"),
        ('listen = "/ip6/127.0.0.1/tcp/4101"', "listen"),
        ("listen = 4101", "listen"),
        ('rpc = "127.0.0.1"', "rpc"),
        ('rpc = ":5101"', "rpc"),
        ('rpc = "127.0.0.1:0"', "rpc"),
        ('rpc = "127.0.0.1:65536"', "rpc"),
        ('rpc = "127.0.0.1:http"', "rpc"),
        ('gossip = "yes"', "gossip"),
        ("gossip = 1", "gossip"),
        ('store_bytes_max = "64 GiB"', "store_bytes_max"),
        ("store_bytes_max = true", "store_bytes_max"),
        ("store_bytes_max = -1", "store_bytes_max"),
        (f"store_bytes_max = {STORE_BYTES_MIN - 1}", "store_bytes_max"),
        (f"store_bytes_max = {2**63}", "store_bytes_max"),
        ("tls_cert = 7", "tls_cert"),
    ],
)
def test_wrong_value_is_named(tmp_path: Path, line: str, field: str) -> None:
    error = refused(tmp_path, replaced(line))
    assert error.field == field
    assert error.expected in str(error)


def test_smallest_store_is_taken(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, replaced(f"store_bytes_max = {STORE_BYTES_MIN}"))).store_bytes_max


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ('label = "somewhere"', "peers.label"),
        ("label = 4101", "peers.label"),
        ('"La bel" = "/ip4/127.0.0.1/tcp/1"', "peers.La bel"),
        ('court = "/ip4/127.0.0.1/tcp/1"', "peers.court"),
    ],
)
def test_wrong_peer_is_named(tmp_path: Path, entry: str, field: str) -> None:
    assert refused(tmp_path, f"{GOOD}[peers]\n{entry}\n").field == field


def test_public_address_needs_tls(tmp_path: Path) -> None:
    assert refused(tmp_path, replaced('rpc = "0.0.0.0:5101"')).field == "rpc"
    assert refused(tmp_path, replaced('rpc = "node.example:5101"')).field == "rpc"
    tls = 'tls_cert = "cert.pem"\ntls_key = "key.pem"'
    assert load_config(write(tmp_path, replaced('rpc = "0.0.0.0:5101"', extra=tls))).rpc == "0.0.0.0:5101"


@pytest.mark.parametrize("given", ['tls_cert = "c.pem"', 'tls_key = "k.pem"', 'tls_client_ca = "ca.pem"'])
def test_half_of_tls_is_refused(tmp_path: Path, given: str) -> None:
    """A client CA alone would look like mTLS and be plain text."""
    assert refused(tmp_path, replaced(given)).field.startswith("tls_")


@pytest.mark.parametrize(("rpc", "host"), [("[::1]:5101", "::1"), ("localhost:5101", "localhost")])
def test_rpc_address_round_trips(tmp_path: Path, rpc: str, host: str) -> None:
    got = load_config(write(tmp_path, replaced(f'rpc = "{rpc}"')))
    assert (got.rpc_host, got.rpc) == (host, rpc)


@pytest.mark.parametrize(
    "data",
    [
        b"member = ",
        b"\xff\xfe",
        b"member = " + b"9" * 5000,
        b"member = " + b"[" * 20_000,
        b"# " + b"x" * CONFIG_BYTES_MAX,
    ],
    ids=["no value", "no UTF-8", "number of 5,000 digits", "20,000 levels", "too large"],
)
def test_file_that_is_no_toml_is_refused_in_one_error(tmp_path: Path, data: bytes) -> None:
    assert refused(tmp_path, data).field == "file"


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.toml: file: expected a readable file"):
        load_config(tmp_path / "config.toml")


@given(data=st.binary(max_size=200))
def test_any_bytes_are_config_or_config_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = write(tmp_path_factory.getbasetemp(), data)
    with pytest.raises(ConfigError):
        load_config(path)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_pinned_checkpoint_is_a_file_beside_the_configuration(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, GOOD + PEERS)).sync_checkpoint is None
    good = load_config(write(tmp_path, GOOD + PEERS + '[sync]\ncheckpoint = "pin/checkpoint"\n'))
    assert good.sync_checkpoint == tmp_path / "pin" / "checkpoint"
    for table, field in (("checkpoint = 1", "sync.checkpoint"), ('checkpont = "x"', "sync.checkpont")):
        with pytest.raises(ConfigError, match=field):
            load_config(write(tmp_path, GOOD + PEERS + f"[sync]\n{table}\n"))


def test_known_fields_are_those_that_are_read(tmp_path: Path) -> None:
    """The list in the error is kept beside the code that reads: each name in it is one that `load_config` takes."""
    values = {"peers": '{label = "/ip4/127.0.0.1/tcp/1"}', "gossip": "true", "store_bytes_max": str(2**30)}
    values["sync"] = '{checkpoint = "checkpoint"}'
    values["metrics"] = '{listen = "127.0.0.1:1"}'
    given = {line.partition(" ")[0]: line.partition("= ")[2] for line in GOOD.splitlines()} | values
    given |= {name: '"x.pem"' for name in config.FIELDS if name.startswith("tls_")}
    assert set(given) == set(config.FIELDS)
    load_config(write(tmp_path, "".join(f"{name} = {value}\n" for name, value in given.items())))


# ---- metrics ----


def test_no_metrics_are_served_unless_asked_for(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, GOOD + PEERS)).metrics is None
    got = load_config(write(tmp_path, GOOD + '[metrics]\nlisten = "[::1]:6101"\n' + PEERS))
    assert got.metrics == ("::1", 6101)


@pytest.mark.parametrize(
    ("table", "field"),
    [
        ("", "metrics.listen"),
        ('listen = "0.0.0.0:6101"', "metrics.listen"),
        ('listen = "127.0.0.1"', "metrics.listen"),
        ('listen = "127.0.0.1:1"\nlisten_on = 1', "metrics.listen_on"),
    ],
)
def test_metrics_elsewhere_than_on_loopback_are_refused(tmp_path: Path, table: str, field: str) -> None:
    assert refused(tmp_path, f"{GOOD}[metrics]\n{table}\n{PEERS}").field == field
