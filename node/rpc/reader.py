"""The public process: `python -m node.rpc.reader --config DIR/config.toml`. Reads the store, forwards submissions.

A flood of queries, or an error in here, costs no vote: consensus runs in another process, and this one can only read.
It stops on SIGTERM, SIGINT, and when its standard input, if that is a pipe, is closed: so it never outlives its parent.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import stat
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from consensus.errors import LocalError, RequestError
from ledger.genesis import Genesis, parse_genesis
from node.config import ConfigError, NodeConfig, load_config
from node.disk import disk_of
from node.logs import configure_logs
from node.rpc.calls import SERVICE, UNARY_SECONDS_MAX, Handler, client_stream, server_stream, unary
from node.rpc.calls import stop as end
from node.rpc.chain import ChainService
from node.rpc.derived import DerivedService
from node.rpc.epochs import EpochService
from node.rpc.evidence import EvidenceService
from node.rpc.forward import NodeLink
from node.rpc.metrics import MetricsServer, page_of
from node.rpc.reads import ReadService
from node.rpc.server import CALLS_MAX, SERVER_OPTIONS, listen
from node.rpc.tail import LogState, LogTail
from node.rpc.watch import WatchService
from node.signer import load_keys
from node.store.reader import StoreReader
from protos import stretto_pb2 as pb

HEALTH_SECONDS: Final = 1.0
"""How often health is looked at anew."""
EXIT_OK: Final = 0
EXIT_ERROR: Final = 1

_log = logging.getLogger(__name__)
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def serve(config: NodeConfig, genesis: Genesis, stop: asyncio.Event) -> None:
    """Serves until `stop`. Raises: CannotListen, KeyFileError."""
    server = grpc.aio.server(options=SERVER_OPTIONS, maximum_concurrent_rpcs=CALLS_MAX)
    link = NodeLink(config.submit_socket)
    store = StoreReader(config.chain_path, genesis)
    tail = LogTail(lambda: _log_state(store))
    reads = ReadService(
        store,
        tail,
        link,
        genesis=genesis,
        member=config.member,
        version=version("stretto"),
        disk=lambda: disk_of(config),
    )
    watch = WatchService(store, tail)
    epochs = EpochService(store)
    chain = ChainService(store, tail)
    derived = DerivedService(store, tail)
    evidence = EvidenceService(store, tail, genesis, config.member, load_keys(config, "export"))
    methods: dict[str, Handler] = {
        "SubmitStatement": link.unary("SubmitStatement"),
        "SubmitStatements": link.stream("SubmitStatements"),
        "GetStatement": unary("GetStatement", pb.GetStatementRequest, reads.get_statement),
        "QueryClaims": unary("QueryClaims", pb.QueryClaimsRequest, reads.query_claims),
        "WatchStatements": server_stream("WatchStatements", pb.WatchStatementsRequest, watch.watch_statements),
        "GetEvidence": server_stream(
            "GetEvidence", pb.GetEvidenceRequest, evidence.get_evidence, seconds_max=UNARY_SECONDS_MAX
        ),
        "VerifyEvidence": client_stream("VerifyEvidence", pb.VerifyEvidenceRequest, evidence.verify_evidence),
        "GetCheckpoint": unary("GetCheckpoint", pb.GetCheckpointRequest, reads.get_checkpoint),
        "GetConsistencyProof": unary("GetConsistencyProof", pb.GetConsistencyProofRequest, reads.get_consistency_proof),
        "NodeStatus": unary("NodeStatus", pb.NodeStatusRequest, reads.node_status),
        "ListMisbehaviour": unary("ListMisbehaviour", pb.ListMisbehaviourRequest, reads.list_misbehaviour),
        "ListEpochs": unary("ListEpochs", pb.ListEpochsRequest, epochs.list_epochs),
        "GetChainCheckpoint": unary("GetChainCheckpoint", pb.GetChainCheckpointRequest, chain.get_chain_checkpoint),
        "GetGovernance": unary("GetGovernance", pb.GetGovernanceRequest, epochs.get_governance),
        "GetInclusionProof": unary("GetInclusionProof", pb.GetInclusionProofRequest, derived.get_inclusion_proof),
        "GetDerivedLeaf": unary("GetDerivedLeaf", pb.GetDerivedLeafRequest, derived.get_derived_leaf),
        "GetClaimRights": unary("GetClaimRights", pb.GetClaimRightsRequest, derived.get_claim_rights),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    port = listen(server, config)
    await server.start()
    _log.info("reader of %s listens at %s:%d", genesis.origin, config.rpc_host, port)
    tasks = [asyncio.create_task(tail.run()), asyncio.create_task(_watch_health(checks, link, store))]
    if config.metrics is not None:
        tasks.append(asyncio.create_task(MetricsServer(*config.metrics, page_of(reads)).run()))
    try:
        await stop.wait()
    finally:
        for task in tasks:
            task.cancel()
        tail.stop()
        await checks.enter_graceful_shutdown()
        await end(server)
        await link.close()
        evidence.close()
        store.close()


def _log_state(store: StoreReader) -> LogState:
    with store.snapshot() as snapshot:
        return LogState(
            size=snapshot.size,
            checkpoint=snapshot.latest_checkpoint() or 0,
            chain_checkpoints=snapshot.chain_checkpoint_count(),
            epoch=snapshot.rosters().epoch,
        )


def _can_read(store: StoreReader) -> bool:
    try:
        _log_state(store)
    except LocalError as error:
        _log.warning("the store cannot be read: %s", error)
        return False
    return True


async def _watch_health(checks: health.aio.HealthServicer, link: NodeLink, store: StoreReader) -> None:
    """Service "" is SERVING while the store can be read; stretto.v1.Stretto while the node process runs as well."""
    while True:
        reads = _can_read(store)
        live = await link.live()
        await checks.set("", _SERVING if reads else _NOT_SERVING)
        whole = reads and live.consensus_running
        await checks.set(SERVICE, _SERVING if whole else _NOT_SERVING)
        await asyncio.sleep(HEALTH_SECONDS)


def _stop_when_parent_ends(stop: asyncio.Event) -> None:
    """Where standard input is a pipe, its end is the parent's, and sets `stop`; a terminal or /dev/null says nothing.

    Not prctl(PR_SET_PDEATHSIG): that fires when the *thread* which started us ends, and trio starts processes in
    worker threads that come and go.
    """
    stdin = sys.stdin.fileno()
    kind = os.fstat(stdin).st_mode
    if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
        return

    def readable() -> None:
        if not os.read(stdin, 4096):
            asyncio.get_running_loop().remove_reader(stdin)
            _log.info("the node process has gone: stopping")
            stop.set()

    asyncio.get_running_loop().add_reader(stdin, readable)


async def _run(config: NodeConfig, genesis: Genesis) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
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
    options = parser.parse_args(arguments)
    configure_logs("-")
    gc.freeze()  # what was imported stays: the collector need not look at it in the middle of a call
    try:
        config = load_config(options.config)
        configure_logs(config.member)
        asyncio.run(_run(config, load_genesis(config)))
    except LocalError as error:
        _log.error("%s", error)
        return EXIT_ERROR
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
