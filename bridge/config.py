"""A relayer's configuration: bridge.toml, read once at start, every field checked and named when wrong."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from bridge.fees import GWEI, FeePolicy
from bridge.jsonrpc import label_of
from consensus.errors import LocalError

CONFIG_BYTES_MAX: Final = 64 * 1024
CHAINS_MAX: Final = 16
ENDPOINTS_MAX: Final = 8
RELAYERS_MAX: Final = 64
PURPOSES: Final = ("deposit", "trade", "high_value")
"""What a route is for: registrations, frequent trades, tokens of high value."""
KNOWN_IDS: Final = {"zilliqa": 32769, "polygon": 137, "ethereum": 1}
"""EIP-155 ids of the main networks that a chain of this name usually means."""
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_NODE = re.compile(r"(?:\[[0-9a-fA-F:.%]+\]|[^:/\s]+):([0-9]{1,5})")


class ConfigError(LocalError):
    """A configuration that cannot be used. field: the TOML key. value: what stands there. expected: what should."""

    def __init__(self, path: Path, field_: str, value: object, expected: str) -> None:
        super().__init__(f"{path}: {field_}: expected {expected}, got {_shown(value)}")
        self.path = path
        self.field = field_
        self.value = value
        self.expected = expected


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str) and "://" in value:
        return f"an address at {label_of(value)!r}"  # the rest of a URL may hold a key
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainConfig:
    """One public chain. Amounts are in wei, times in seconds."""

    name: str
    id: int
    rpc: tuple[str, ...] = field(repr=False)
    """URLs; they often hold keys, so nothing prints them."""
    fees: FeePolicy
    bridge: bytes | None = None
    """Address of the CheckpointBridge; None until it is deployed."""
    nft: bytes | None = None
    start_block: int = 0
    """Where the bridge was deployed: events are searched from there on."""
    gas_max: int = 2_000_000
    """No relaying transaction is sent with more."""
    leaves_min: int = 1
    """A checkpoint is due with so many leaves more than the chain has, ..."""
    seconds_min: float = 60.0
    """... and so long after the last one."""
    seconds_max: float = 86_400.0
    """After so long it is due with one leaf more."""
    turn_s: float = 15.0
    """How long each relayer leaves to the one before it: several blocks."""
    replace_s: float = 60.0
    """After so long without being mined a transaction is replaced by one that pays more."""
    poll_s: float = 2.0
    read_quorum: int | None = None
    requests_per_second: float = 10.0
    timeout_s: float = 10.0
    build_on_latest: bool = False
    """Whether a checkpoint may follow one that is not final yet: quicker, but where that one is taken back this one
    fails, and is paid for."""
    finality_blocks: int | None = None
    """For a chain without the tag "finalized": so many blocks below its head are final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeystoreConfig:
    """A keystore of version 3."""

    keystore: Path
    password_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Pkcs11Config:
    """A key in a module. token, key: labels."""

    module: Path
    token: str
    key: str
    pin_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeConfig:
    """Everything a relayer is told. Paths are absolute."""

    path: Path
    node: str
    """HOST:PORT of a node's gRPC service."""
    journal: Path
    evidence: Path
    """Folder for checkpoints that contradict each other."""
    signer: KeystoreConfig | Pkcs11Config
    chains: Mapping[str, ChainConfig]
    routes: Mapping[str, str]
    """Purpose -> name of the chain."""
    relayer: int = 0
    """This relayer's number, from 0."""
    relayers: int = 1
    """How many share the work."""
    node_ca: Path | None = None
    node_cert: Path | None = None
    node_key: Path | None = None
    metrics: tuple[str, int] | None = None
    deployed: Path | None = None
    """What `stretto bridge deploy` writes: addresses by chain."""

    def chain(self, name: str) -> ChainConfig:
        """Raises: ConfigError."""
        if name not in self.chains:
            raise ConfigError(self.path, f"chains.{name}", None, f"one of {', '.join(sorted(self.chains))}")
        return self.chains[name]

    def chain_for(self, purpose: str) -> ChainConfig:
        """Where something of this purpose goes. Raises: ConfigError."""
        if purpose not in self.routes:
            raise ConfigError(self.path, f"routes.{purpose}", None, f"the name of a chain for {purpose}")
        return self.chains[self.routes[purpose]]


class Table:
    """Takes typed values out of a TOML table and remembers which, so that a misspelt key is an error, not a default."""

    def __init__(self, path: Path, prefix: str, table: Mapping[str, Any]) -> None:
        self.path, self.prefix = path, prefix
        self._left, self._known = dict(table), set[str]()

    def wrong(self, name: str, value: object, expected: str) -> ConfigError:
        return ConfigError(self.path, f"{self.prefix}{name}", value, expected)

    def take(self, name: str, kind: type, expected: str, default: Any = None) -> Any:
        self._known.add(name)
        value = self._left.pop(name, default)
        if kind is float and type(value) is int:
            value = float(value)
        if value is not None and type(value) is not kind:
            raise self.wrong(name, value, expected)
        return value

    def require(self, name: str, kind: type, expected: str) -> Any:
        value = self.take(name, kind, expected)
        if value is None:
            raise self.wrong(name, None, expected)
        return value

    def number(self, name: str, default: float | None, low: float, high: float, kind: type = int) -> Any:
        """Within bounds. None only where that is the default."""
        expected = f"a number from {low:g} to {high:g}"
        value = self.take(name, kind, expected, default)
        if value is not None and not low <= value <= high:
            raise self.wrong(name, value, expected)
        return value

    def file(self, name: str, *, required: bool = False, default: str | None = None) -> Path | None:
        value = (self.require if required else self.take)(name, str, "a path")
        value = default if value is None else value
        return None if value is None else (self.path.parent / value).resolve()

    def address(self, name: str) -> bytes | None:
        expected = "an address such as 0x52908400098527886E0F7030069857D2E4169EE7"
        value = self.take(name, str, expected)
        if value is None:
            return None
        if not _ADDRESS.fullmatch(value):
            raise self.wrong(name, value, expected)
        found = bytes.fromhex(value[2:])
        if value[2:] not in (value[2:].lower(), value[2:].upper()):
            from bridge.artifacts import checksummed  # noqa: PLC0415  only for mixed capitals

            if checksummed(found) != value:
                raise self.wrong(name, value, "an address with EIP-55's capitals, or all lower case: is a digit wrong?")
        if found == bytes(20):
            raise self.wrong(name, value, "an address that is not zero")
        return found

    def finish(self) -> None:
        if self._left:
            name = min(self._left)
            raise self.wrong(name, self._left[name], f"no such field; known are {', '.join(sorted(self._known))}")


def read_toml(path: Path) -> dict[str, Any]:
    """Raises: ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(path, "file", str(path), f"a readable file ({error.strerror})") from error
    if len(data) > CONFIG_BYTES_MAX:
        raise ConfigError(path, "file", f"over {CONFIG_BYTES_MAX} bytes", f"at most {CONFIG_BYTES_MAX} bytes")
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError(path, "file", str(error), "TOML 1.0") from error


def load_config(path: Path) -> BridgeConfig:
    """Reads and checks bridge.toml and the addresses that `deploy` wrote. Raises: ConfigError."""
    path = path.resolve()
    top = Table(path, "", read_toml(path))
    node = top.require("node", str, 'a node\'s rpc address such as "127.0.0.1:5101"')
    match = _NODE.fullmatch(node)
    if match is None or not 0 < int(match[1]) < 65536:
        raise top.wrong("node", node, 'HOST:PORT such as "127.0.0.1:5101"')
    deployed = top.file("deployed")
    chains = _chains(top, deployed)
    relayers = top.number("relayers", 1, 1, RELAYERS_MAX)
    relayer = top.number("relayer", 0, 0, relayers - 1)
    journal, evidence = top.file("journal", required=True), top.file("evidence", default="contradictions")
    assert journal is not None, "required above"
    assert evidence is not None, "it has a default"
    config = BridgeConfig(
        path=path,
        node=node,
        journal=journal,
        evidence=evidence,
        signer=_signer(top),
        chains=chains,
        routes=_routes(top, chains),
        relayer=relayer,
        relayers=relayers,
        node_ca=top.file("node_ca"),
        node_cert=top.file("node_cert"),
        node_key=top.file("node_key"),
        metrics=_metrics(top),
        deployed=deployed,
    )
    if (config.node_cert is None) != (config.node_key is None):
        raise top.wrong("node_cert", str(config.node_cert), "node_cert and node_key together")
    if config.node_cert is not None and config.node_ca is None:
        raise top.wrong("node_ca", None, "the CA of the node's certificate: without it there is no TLS")
    top.finish()
    return config


def _metrics(top: Table) -> tuple[str, int] | None:
    value = top.take("metrics", str, 'an address such as "127.0.0.1:6201"')
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise top.wrong("metrics", value, 'an address such as "127.0.0.1:6201"')
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        # It has neither TLS nor a password: whoever is to see it from elsewhere goes through something that has.
        raise top.wrong("metrics", value, "a loopback address")
    return host, int(port)


def _signer(top: Table) -> KeystoreConfig | Pkcs11Config:
    table = Table(top.path, "signer.", top.require("signer", dict, "a table [signer] with keystore or module"))
    made: KeystoreConfig | Pkcs11Config
    if (module := table.file("module")) is not None:
        pin_file = table.file("pin_file", required=True)
        assert pin_file is not None, "required"
        token, key = (table.require(name, str, f"the {name}'s label") for name in ("token", "key"))
        made = Pkcs11Config(module=module, token=token, key=key, pin_file=pin_file)
    else:
        keystore, password = table.file("keystore", required=True), table.file("password_file", required=True)
        assert keystore is not None, "required"
        assert password is not None, "required"
        made = KeystoreConfig(keystore=keystore, password_file=password)
    table.finish()
    return made


def _routes(top: Table, chains: Mapping[str, ChainConfig]) -> dict[str, str]:
    table = Table(top.path, "routes.", top.take("routes", dict, "a table [routes]", {}))
    found = {}
    for purpose in PURPOSES:
        name = table.take(purpose, str, "the name of a chain")
        if name is None:
            continue
        if name not in chains:
            raise table.wrong(purpose, name, f"one of {', '.join(sorted(chains))}")
        found[purpose] = name
    table.finish()
    return found


def _chains(top: Table, deployed: Path | None) -> dict[str, ChainConfig]:
    tables = top.require("chains", dict, "a table [chains.NAME] for each chain")
    if not 1 <= len(tables) <= CHAINS_MAX:
        raise top.wrong("chains", len(tables), f"1 to {CHAINS_MAX} chains")
    addresses = read_toml(deployed) if deployed is not None and deployed.exists() else {}
    places = addresses.get("chains", {}) if isinstance(addresses.get("chains", {}), dict) else {}
    found: dict[str, ChainConfig] = {}
    for name, table in tables.items():
        if not _NAME.fullmatch(name) or not isinstance(table, dict):
            raise top.wrong(f"chains.{name}", table, "a table whose name is 1 to 32 of a-z, 0-9 and -")
        written = places.get(name, {})
        if not isinstance(written, dict):
            raise ConfigError(deployed or top.path, f"chains.{name}", written, "a table")
        for key in written:
            if key in table:
                raise top.wrong(f"chains.{name}.{key}", table[key], f"it only once: {deployed} has it too")
        found[name] = _chain(Table(top.path, f"chains.{name}.", {**table, **written}), name)
    ids = [chain.id for chain in found.values()]
    if len(set(ids)) != len(ids):
        raise top.wrong("chains", sorted(ids), "each id only once")
    return found


def _chain(table: Table, name: str) -> ChainConfig:
    urls = table.require("rpc", list, "a list of http or https URLs")
    if not 1 <= len(urls) <= ENDPOINTS_MAX or len(set(map(str, urls))) != len(urls):
        raise table.wrong("rpc", len(urls), f"1 to {ENDPOINTS_MAX} different URLs")
    for url in urls:
        _check_url(table, url)
    id_ = table.number("id", KNOWN_IDS.get(name), 1, 2**53 - 1)
    if id_ is None:
        raise table.wrong("id", None, "the chain's EIP-155 id, such as 137")
    made = ChainConfig(
        name=name,
        id=id_,
        rpc=tuple(urls),
        fees=_fees(table, name),
        bridge=table.address("bridge"),
        nft=table.address("nft"),
        start_block=table.number("start_block", 0, 0, 2**53),
        gas_max=table.number("gas_max", 2_000_000, 100_000, 2**24),
        leaves_min=table.number("leaves_min", 1, 1, 2**40),
        seconds_min=table.number("seconds_min", 60.0, 0, 10**7, float),
        seconds_max=table.number("seconds_max", 86_400.0, 0, 10**8, float),
        turn_s=table.number("turn_s", 15.0, 0.1, 3600, float),
        replace_s=table.number("replace_s", 60.0, 1, 86_400, float),
        poll_s=table.number("poll_s", 2.0, 0.05, 3600, float),
        read_quorum=table.number("read_quorum", None, 1, len(urls)),
        requests_per_second=table.number("requests_per_second", 10.0, 0.1, 10_000, float),
        timeout_s=table.number("timeout_s", 10.0, 0.1, 60, float),
        build_on_latest=table.take("build_on_latest", bool, "true or false", False),
        finality_blocks=table.number("finality_blocks", None, 1, 100_000),
    )
    if made.seconds_max < made.seconds_min:
        raise table.wrong("seconds_max", made.seconds_max, f"at least seconds_min, {made.seconds_min:g}")
    table.finish()
    return made


def _check_url(table: Table, url: object) -> None:
    expected = "an http or https URL; http only on this machine or with the rest of the way protected"
    if not isinstance(url, str) or len(url) > 2048 or not url.isprintable() or " " in url:
        raise table.wrong("rpc", url, expected)
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right or parts.username or parts.password:
        raise table.wrong("rpc", url, f"{expected}, without user and password")


def _fees(table: Table, name: str) -> FeePolicy:
    cap = table.number("fee_cap_gwei", None, 1e-9, 1e9, float)
    if cap is None:
        raise table.wrong("fee_cap_gwei", None, "the most that this relayer offers for gas, such as 200.0")
    tip_cap = table.number("tip_cap_gwei", cap, 0, 1e9, float)
    tip = table.number("tip_gwei", None, 0, 1e9, float)
    if tip_cap > cap:
        raise table.wrong("tip_cap_gwei", tip_cap, f"at most fee_cap_gwei, {cap:g}")
    if tip is not None and tip > tip_cap:
        raise table.wrong("tip_gwei", tip, f"at most {tip_cap:g}")
    return FeePolicy(
        chain=name,
        cap=round(cap * GWEI),
        tip_cap=round(tip_cap * GWEI),
        tip=None if tip is None else round(tip * GWEI),
        legacy=table.take("legacy", bool, "true or false", False),
    )
