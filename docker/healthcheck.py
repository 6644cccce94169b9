"""Tells the container engine whether the node in here works. Exit status 0: it does, or none should; 1: it does not.

The node process must answer on its private socket, and something must accept connections at the public address. That
is not asked by gRPC: with TLS its certificate names the outside, and it may want one of the caller's.
"""

from __future__ import annotations

import socket
import sys
from itertools import pairwise
from pathlib import Path

SECONDS_MAX = 3.0
"""For each of the two questions; the engine gives up after ten."""


def node_config(command: list[str]) -> Path | None:
    """The config.toml that `… stretto node run --config FILE` names; None for every other command."""
    if ("node", "run") not in pairwise(command):
        return None
    for option, value in pairwise([*command, ""]):
        if option == "--config":
            return Path(value)
        if option.startswith("--config="):
            return Path(option.removeprefix("--config="))
    return None


def main() -> int:
    # Process 1 is the command, or `--init`'s little process with the command as its arguments.
    path = node_config(Path("/proc/1/cmdline").read_bytes().decode().rstrip("\0").split("\0"))
    if path is None:
        return 0
    import grpc  # noqa: PLC0415  most commands that run here are no nodes

    from consensus.errors import LocalError  # noqa: PLC0415
    from node.config import load_config  # noqa: PLC0415
    from protos.stretto_pb2 import NodeStatusRequest  # noqa: PLC0415
    from protos.stretto_pb2_grpc import StrettoStub  # noqa: PLC0415

    try:
        config = load_config(path)
        with grpc.insecure_channel(f"unix:{config.submit_socket}") as channel:
            if not StrettoStub(channel).NodeStatus(NodeStatusRequest(), timeout=SECONDS_MAX).consensus_running:
                sys.stdout.write("the node answers, and takes no part in consensus\n")
                return 1
        # 0.0.0.0 and :: mean this machine on Linux.
        socket.create_connection((config.rpc_host, config.rpc_port), SECONDS_MAX).close()
    except grpc.RpcError as error:
        sys.stdout.write(f"the node process does not answer: {error.code().name}\n")
        return 1
    except LocalError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stdout.write(f"nothing answers at {config.rpc}: {error.strerror or error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
