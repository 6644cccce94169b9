"""Generates the protobuf code at build time, so that it can never drift from protos/*.proto."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SERVICES = frozenset({"protos/stretto.proto"})  # only files with a `service`: others would get empty *_pb2_grpc.py


class ProtoHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs grpc_tools.protoc from the repository root, so that imports read `from protos import …_pb2`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  hatchling calls it so
        from grpc_tools import protoc  # noqa: PLC0415  a build requirement, absent at run time

        root = Path(self.root)
        for proto in sorted((root / "protos").glob("*.proto")):
            relative = proto.relative_to(root).as_posix()
            arguments = ["protoc", f"-I{root}", f"--python_out={root}", f"--mypy_out=quiet:{root}"]
            if relative in SERVICES:
                arguments += [f"--grpc_python_out={root}", f"--mypy_grpc_out=quiet:{root}"]
            if protoc.main([*arguments, str(proto)]) != 0:
                raise RuntimeError(f"protoc failed on {relative}: see its message above")
        build_data["artifacts"] += [
            "protos/*_pb2.py",
            "protos/*_pb2.pyi",
            "protos/*_pb2_grpc.py",
            "protos/*_pb2_grpc.pyi",
        ]
