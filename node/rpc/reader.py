"""The public process: `python -m node.rpc.reader --config DIR/config.toml`. Reads the store, forwards submissions.

A flood of queries, or an error in here, costs no vote: consensus runs in another process, and this one can only read.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from consensus.errors import LocalError, RequestError
from ledger.genesis import Genesis, parse_genesis
from node.config import ConfigError, NodeConfig, load_config
from node.logs import configure_logs
from node.rpc.calls import SERVICE, Handler
from node.rpc.forward import NodeLink
from node.rpc.server import CALLS_MAX, SERVER_OPTIONS, STOP_SECONDS, listen

HEALTH_SECONDS: Final = 1.0
"""How often health is looked at anew."""
EXIT_OK: Final = 0
EXIT_ERROR: Final = 1

_log = logging.getLogger(__name__)
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def serve(config: NodeConfig, genesis: Genesis, stop: asyncio.Event) -> None:
    """Serves until `stop`. Raises: CannotListen, StoreError."""
    server = grpc.aio.server(options=SERVER_OPTIONS, maximum_concurrent_rpcs=CALLS_MAX)
    link = NodeLink(config.submit_socket)
    methods: dict[str, Handler] = {
        "SubmitStatement": link.unary("SubmitStatement"),
        "SubmitStatements": link.stream("SubmitStatements"),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    port = listen(server, config)
    await server.start()
    _log.info("reader of %s listens at %s:%d", genesis.origin, config.rpc_host, port)
    watch = asyncio.create_task(_watch_health(checks, link, lambda: True))
    try:
        await stop.wait()
    finally:
        watch.cancel()
        await checks.enter_graceful_shutdown()
        await server.stop(STOP_SECONDS)
        await link.close()


async def _watch_health(checks: health.aio.HealthServicer, link: NodeLink, can_read: Callable[[], bool]) -> None:
    """ "" is SERVING while the store can be read, the service itself while consensus runs as well and takes submissions."""
    while True:
        reads = can_read()
        live = await link.live()
        await checks.set("", _SERVING if reads else _NOT_SERVING)
        whole = reads and live is not None and live.consensus_running
        await checks.set(SERVICE, _SERVING if whole else _NOT_SERVING)
        await asyncio.sleep(HEALTH_SECONDS)


def _stop_when_parent_ends(stop: asyncio.Event) -> None:
    """Sets `stop` at the end of standard input: the parent holds the other end of that pipe and dies with it.

    Not prctl(PR_SET_PDEATHSIG): that fires when the *thread* which started us ends, and trio starts processes in
    worker threads that come and go.
    """

    def readable() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            _log.info("the node process has gone: stopping")
            stop.set()

    try:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), readable)
    except OSError as error:
        raise StdinIsNoPipe from error


class StdinIsNoPipe(LocalError):
    """--exit-with-parent without a pipe to watch."""

    def __init__(self) -> None:
        super().__init__("--exit-with-parent: standard input must be a pipe whose other end the parent holds")


async def _run(config: NodeConfig, genesis: Genesis, *, exit_with_parent: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if exit_with_parent:
        _stop_when_parent_ends(stop)
    await serve(config, genesis, stop)


def load_genesis(config: NodeConfig) -> Genesis:
    """Raises: ConfigError, naming the file."""
    try:
        return parse_genesis(config.genesis_path.read_bytes())
    except OSError as error:
        raise ConfigError(config.genesis_path, "file", error.strerror, "a readable genesis file") from error
    except RequestError as error:
        raise ConfigError(config.genesis_path, "file", str(error), "a genesis file of this release") from error


def main(arguments: Sequence[str]) -> int:
    """Runs the reader until SIGTERM, SIGINT or the parent's end. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="stretto-reader", description="Serves a node's store by gRPC.")
    parser.add_argument("--config", type=Path, required=True, help="the node's config.toml")
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when standard input, a pipe, is closed")
    options = parser.parse_args(arguments)
    configure_logs("-")
    try:
        config = load_config(options.config)
        configure_logs(config.member)
        asyncio.run(_run(config, load_genesis(config), exit_with_parent=options.exit_with_parent))
    except LocalError as error:
        _log.error("%s", error)  # noqa: TRY400  an operator's error is one sentence, not a traceback
        return EXIT_ERROR
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
