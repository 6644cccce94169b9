"""A reader process on a node directory of its own, as the node starts it: the public side of the gRPC tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import grpc
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from node.ports import free_ports
from tests.node.rpc.consortium import GENESIS, private_key

START_S = 30


class ReaderProcess:
    """`python -m node.rpc.reader` for the court's node in `folder`."""

    def __init__(self, folder: Path, *, extra_config: str = "", wait: bool = True, host: str = "127.0.0.1") -> None:
        self.folder = folder
        self.port = _free_port()
        self.address = f"{host}:{self.port}"
        make_node_folder(folder, self.address, extra_config)
        self.start()
        if wait:
            with grpc.insecure_channel(self.address) as channel:
                grpc.channel_ready_future(channel).result(START_S)

    def start(self) -> None:
        command = [sys.executable, "-m", "node.rpc.reader", "--config", str(self.folder / "config.toml")]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )

    @property
    def chain_path(self) -> Path:
        return self.folder / "data" / "chain"

    def stop(self) -> int:
        """Ends it as the node does, and gives its exit status."""
        self.process.terminate()
        code = self.process.wait(10)
        self.close()
        return code

    def output(self) -> str:
        """What it said until its end."""
        assert self.process.stderr is not None, "it was asked for"
        text = self.process.stderr.read().decode()
        self.close()
        return text

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stderr):
            if stream is not None:
                stream.close()


def make_node_folder(folder: Path, address: str, extra_config: str = "") -> None:
    (folder / "keys").mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    (folder / "genesis.json").write_bytes(GENESIS.raw)
    export = folder / "keys" / "export.pem"
    pem = private_key("court", "export").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    export.touch(mode=0o600)
    export.write_bytes(pem)
    (folder / "config.toml").write_text(
        f'member = "court"\nlisten = "/ip4/127.0.0.1/tcp/4101"\nrpc = "{address}"\n{extra_config}\n[peers]\n'
    )


def _free_port() -> int:
    return next(free_ports(1))
