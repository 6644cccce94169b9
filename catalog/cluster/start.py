"""A Ray cluster to work on: one of this machine's own, started for a scan and gone with it, or one that is there.

Ray's processes take orders from whoever reaches their ports. So a cluster started here listens on the loopback only,
wants a token that nobody else knows, and keeps its sockets and logs in a folder that nobody else may enter. It sends no
usage statistics and has no dashboard.
Source: Ray 2.60, configuration and "Token authentication".
"""

from __future__ import annotations

import contextlib
import importlib
import ipaddress
import logging
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from consensus.errors import LocalError

SCHEME: Final = "ray"
PORT_DEFAULT: Final = 6379
"""Of a head node, as `ray start --head` has it."""
STORE_BYTES: Final = 80 << 20
"""Ray's least, nearly: results are a kilobyte a file and travel without it."""
_CONNECT_S: Final = 10.0
_COMPLAINTS_BYTES: Final = 1 << 16
_ENVIRONMENT: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_OWN_ENVIRONMENT: Final = {
    # Named for other systems, this is the switch of "no other machine will join": then everything binds to 127.0.0.1.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    # Files come and go from the page cache; Ray takes that for memory in use, and would kill workers for it.
    "RAY_memory_monitor_refresh_ms": "0",
}
TEMPORARY: Final = Path("/tmp")  # noqa: S108  a private folder in it; a long TMPDIR would break Ray's socket paths


class ClusterError(LocalError):
    """Ray cannot be used as asked. One line: what happened, and what to do."""


class RayMissing(ClusterError):
    """Ray is not installed on this machine."""


class NoCluster(ClusterError):
    """The cluster does not answer, or does not let us in, or cannot be started."""


class WorkersLost(ClusterError):
    """The cluster has no worker for us, or none any more. What was done until then is kept."""


def parse_engine(text: str) -> str | None:
    """HOST:PORT of `ray://HOST[:PORT]`, or None for `ray`: a cluster of this machine's own.

    Raises: ValueError.
    """
    if text == SCHEME:
        return None
    try:
        parts = urlsplit(text)
        port = parts.port or PORT_DEFAULT
    except ValueError as error:
        raise ValueError(f"expected local, ray or ray://HOST[:PORT], got {text!r} ({error})") from error
    if parts.scheme != SCHEME or not parts.hostname or parts.username or parts.path.strip("/") or parts.query:
        raise ValueError(f"expected local, ray or ray://HOST[:PORT], got {text!r}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{port}"


@contextlib.contextmanager
def cluster(address: str | None, *, cpus: int, gpus: int = 0) -> Iterator[Any]:
    """The module `ray`, connected. address: HOST:PORT of a head; None starts a cluster with `cpus` and `gpus`.

    Leaving it ends what was started here, whatever happened. Raises: ClusterError.
    """
    if address is not None:
        _reach(address)
    with _environment(_ENVIRONMENT if address else _ENVIRONMENT | _OWN_ENVIRONMENT | _token()):
        ray = _import()
        if ray.is_initialized():
            raise ClusterError("this process is connected to a Ray cluster already")
        with contextlib.ExitStack() as stack:
            options: dict[str, Any] = {"address": address}
            if address is None:
                folder = stack.enter_context(_private_folder())
                options = {"address": "local", "num_cpus": cpus, "num_gpus": gpus, "_temp_dir": str(folder)}
                options |= {"include_dashboard": False, "object_store_memory": STORE_BYTES}
            stack.callback(ray.shutdown)
            # It would print what it has to say of lost workers, in colours, between our lines on stdout.
            ray._private.worker._worker_logs_enabled = False
            _connect(ray, options, address)
            yield ray


def _connect(ray: Any, options: dict[str, Any], address: str | None) -> None:
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    with tempfile.TemporaryFile() as complaints:
        try:
            with _errors_into(complaints.fileno()):
                ray.init(configure_logging=False, log_to_driver=False, logging_level=logging.CRITICAL, **options)
        except Exception as error:  # Ray raises its own, gRPC's and built-in ones alike
            where = f"the Ray cluster at {address}" if address else "a local Ray cluster"
            first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            complaints.seek(0)
            said = str(error) + complaints.read(_COMPLAINTS_BYTES).decode(errors="replace")
            raise NoCluster(f"cannot use {where}: {first[:300]}{_hint(said, address)}") from error
    if address is None:
        for node in ray.nodes():
            if not ipaddress.ip_address(node["NodeManagerAddress"]).is_loopback:
                # Only where `ray` was imported before by somebody else, without our environment.
                raise NoCluster(f"Ray listens on {node['NodeManagerAddress']}, not on the loopback alone: not used")


@contextlib.contextmanager
def _errors_into(descriptor: int) -> Iterator[None]:
    """Standard error of this process goes there: Ray's C++ writes a line a second to it while it tries to connect."""
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _hint(text: str, address: str | None) -> str:
    if address and re.search(r"auth\w*token|authenticat", text, re.IGNORECASE):
        # Its exception says no more than that it could not connect.
        return "; it wants its token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH here as there"
    if address and "node" in text.lower() and "find" in text.lower():
        return f"; this machine must be one of its nodes: ray start --address={address} --num-cpus=0"
    return ""


def _import() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise RayMissing(
            f"--engine ray needs Ray, which is not installed here: pip install 'stretto[ray]' ({error})"
        ) from error


def _reach(address: str) -> None:
    """A plain connection first: Ray itself tries for a minute, and then says less."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise NoCluster(f"no Ray head answers at {address} ({reason}): ray start --head on that machine?") from error


def _token() -> dict[str, str]:
    return {"RAY_AUTH_TOKEN": secrets.token_hex(32)}


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Ray is set up by the environment, which its processes inherit."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """For Ray's sockets and logs. It opens its own folder to everybody: so that stands in one closed to them."""
    folder = Path(tempfile.mkdtemp(prefix="stretto-ray-", dir=TEMPORARY if sys.platform == "linux" else None))
    try:
        yield folder / "r"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
