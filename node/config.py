"""A node's configuration: DIR/config.toml, read once at start, every field checked and named when wrong."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consensus.errors import LocalError

CONFIG_BYTES_MAX = 64 * 1024
STORE_BYTES_MIN = 2**20
STORE_BYTES_MAX = 2**46
"""64 TiB: beyond, the address space of a process ends."""
FIELDS = (
    "gossip",
    "listen",
    "member",
    "metrics",
    "peers",
    "rpc",
    "store_bytes_max",
    "sync",
    "tls_cert",
    "tls_client_ca",
    "tls_key",
)
"""What config.toml may hold, in the order in which people look for it."""
_MULTIADDR = re.compile(r"/(ip4|ip6|dns|dns4|dns6)/([^/\s]+)/tcp/([0-9]{1,5})")
_MEMBER = re.compile(r"[a-z0-9-]{1,32}")


class ConfigError(LocalError):
    """A configuration that cannot be used. field: the TOML key. value: what stands there. expected: what should."""

    def __init__(self, path: Path, field: str, value: object, expected: str) -> None:
        super().__init__(f"{path}: {field}: expected {expected}, got {value!r}")
        self.path = path
        self.field = field
        self.value = value
        self.expected = expected


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """Everything a node process is told. Paths are absolute."""

    directory: Path
    """The node's folder: keys/, data/, genesis.json, submit.sock, log/."""
    member: str
    """Id of the institution in the genesis whose node this is."""
    listen: str
    """libp2p listen address, /ip4/…/tcp/…."""
    rpc_host: str
    rpc_port: int
    """Public gRPC address, served by the reader process."""
    peers: Mapping[str, str]
    """Member id -> libp2p address of every other validator."""
    gossip: bool = False
    """Publish payloads on GossipSub for observers and foreign clients; consensus never depends on it."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    store_bytes_max: int = 64 * 2**30
    """Size limit of the chain store, bytes."""
    sync_checkpoint: Path | None = None
    """A cosigned checkpoint the operator pins: the log that this node syncs must have its root (docs/sync.md)."""
    metrics: tuple[str, int] | None = None
    """Host and port of the metrics page, loopback only; None serves none."""

    @property
    def genesis_path(self) -> Path:
        return self.directory / "genesis.json"

    @property
    def chain_path(self) -> Path:
        return self.directory / "data" / "chain"

    @property
    def voting_path(self) -> Path:
        return self.directory / "data" / "voting"

    @property
    def submit_socket(self) -> Path:
        return self.directory / "submit.sock"

    def key_path(self, name: str) -> Path:
        return self.directory / "keys" / f"{name}.pem"

    @property
    def rpc(self) -> str:
        return f"[{self.rpc_host}]:{self.rpc_port}" if ":" in self.rpc_host else f"{self.rpc_host}:{self.rpc_port}"


def _parse_host_port(path: Path, field: str, value: object) -> tuple[str, int]:
    host, _, port = str(value).rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(path, field, value, 'an address such as "127.0.0.1:5101"')
    return host.strip("[]"), int(port)


def _parse_metrics(path: Path, table: dict[str, Any] | None) -> tuple[str, int] | None:
    if table is None:
        return None
    for name in table:
        if name != "listen":
            raise ConfigError(path, f"metrics.{name}", table[name], "no such field; known is listen")
    if "listen" not in table:
        raise ConfigError(path, "metrics.listen", None, 'an address such as "127.0.0.1:6101"')
    host, port = _parse_host_port(path, "metrics.listen", table["listen"])
    if not is_loopback(host):
        # It has neither TLS nor a password: whoever is to see it from elsewhere goes through something that has.
        raise ConfigError(path, "metrics.listen", table["listen"], "a loopback address")
    return host, port


def _is_multiaddr(value: object) -> bool:
    found = _MULTIADDR.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found[3]) > 65535:
        return False
    try:
        return not found[1].startswith("ip") or ipaddress.ip_address(found[2]).version == int(found[1][2])
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Fields:
    """Takes typed values out of a TOML table and remembers which, so that a misspelt key is an error, not a default."""

    def __init__(self, path: Path, table: dict[str, Any]) -> None:
        self.path = path
        self.table = dict(table)

    def take(self, name: str, kind: type, expected: str, default: Any = None) -> Any:
        value = self.table.pop(name, default)
        if value is not None and type(value) is not kind:
            raise ConfigError(self.path, name, value, expected)
        return value

    def require(self, name: str, kind: type, expected: str) -> Any:
        if name not in self.table:
            raise ConfigError(self.path, name, None, expected)
        return self.take(name, kind, expected)

    def take_path(self, name: str) -> Path | None:
        value = self.take(name, str, "a path")
        return None if value is None else (self.path.parent / value).resolve()

    def finish(self) -> None:
        if self.table:
            field = min(self.table)
            raise ConfigError(self.path, field, self.table[field], f"no such field; known are {', '.join(FIELDS)}")


def _take_checkpoint(path: Path, fields: _Fields) -> Path | None:
    table = dict(fields.take("sync", dict, 'a table: checkpoint = "FILE"', default={}))
    checkpoint = table.pop("checkpoint", None)
    if checkpoint is not None and (type(checkpoint) is not str or not checkpoint):
        raise ConfigError(path, "sync.checkpoint", checkpoint, "the path of a checkpoint file")
    if table:
        field = min(table)
        raise ConfigError(path, f"sync.{field}", table[field], "no such field; known is checkpoint")
    return None if checkpoint is None else (path.parent / checkpoint).resolve()


def load_config(path: Path) -> NodeConfig:
    """Reads and checks a node's config.toml. Raises: ConfigError naming the field, the value and what is expected."""
    path = path.resolve()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(path, "file", str(path), f"a readable file ({error.strerror})") from error
    if len(data) > CONFIG_BYTES_MAX:
        raise ConfigError(path, "file", f"{len(data)} bytes", f"at most {CONFIG_BYTES_MAX} bytes")
    try:
        table = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError(path, "file", str(error), "TOML 1.0") from error

    fields = _Fields(path, table)
    member = fields.require("member", str, "this node's member id")
    if not _MEMBER.fullmatch(member):
        raise ConfigError(path, "member", member, "1 to 32 of a-z, 0-9 and -")
    listen = fields.require("listen", str, "a libp2p address such as /ip4/127.0.0.1/tcp/4101")
    peers = fields.require("peers", dict, "a table: member id = libp2p address")
    for name in peers:
        if not _MEMBER.fullmatch(name) or name == member:
            raise ConfigError(path, f"peers.{name}", peers[name], "the id of another member as the name")
    for field, address in {"listen": listen, **{f"peers.{name}": value for name, value in peers.items()}}.items():
        if not _is_multiaddr(address):
            raise ConfigError(path, field, address, "a libp2p address such as /ip4/127.0.0.1/tcp/4101")
    host, port = _parse_host_port(path, "rpc", fields.require("rpc", str, 'an address such as "127.0.0.1:5101"'))
    tls_cert, tls_key, tls_ca = (fields.take_path(name) for name in ("tls_cert", "tls_key", "tls_client_ca"))
    if (tls_cert is None) != (tls_key is None):
        raise ConfigError(path, "tls_cert", str(tls_cert), "tls_cert and tls_key together")
    if tls_ca is not None and tls_cert is None:
        raise ConfigError(
            path, "tls_client_ca", str(tls_ca), "tls_cert and tls_key as well: without them there is no TLS"
        )
    if not is_loopback(host) and tls_cert is None:
        raise ConfigError(path, "rpc", f"{host}:{port}", "a loopback address, or tls_cert and tls_key as well")
    store_bytes_max = fields.take("store_bytes_max", int, "a number of bytes", default=64 * 2**30)
    if not STORE_BYTES_MIN <= store_bytes_max <= STORE_BYTES_MAX:
        raise ConfigError(
            path, "store_bytes_max", store_bytes_max, f"a number of bytes from {STORE_BYTES_MIN} to {STORE_BYTES_MAX}"
        )
    metrics = _parse_metrics(path, fields.take("metrics", dict, "a table [metrics]"))
    config = NodeConfig(
        directory=path.parent,
        member=member,
        listen=listen,
        rpc_host=host,
        rpc_port=port,
        peers=dict(peers),
        gossip=fields.take("gossip", bool, "true or false", default=False),
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_client_ca=tls_ca,
        store_bytes_max=store_bytes_max,
        sync_checkpoint=_take_checkpoint(path, fields),
        metrics=metrics,
    )
    fields.finish()
    return config
