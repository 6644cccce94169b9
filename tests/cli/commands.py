"""Running `stretto` in a test: in this process for what it says, in its own for what it imports and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from cli.main import main


@dataclass(frozen=True)
class Ended:
    """How a command line ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Stretto:
    """`stretto("hash", path)`: in this process."""

    def __init__(self, capture: pytest.CaptureFixture[bytes]) -> None:
        self._capture = capture

    def __call__(self, *arguments: object) -> Ended:
        self._capture.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = self._capture.readouterr()
        return Ended(code, captured.out, captured.err.decode())


def modules_after(*arguments: object) -> tuple[int, set[str]]:
    """(exit code, top-level packages imported) of a command line in a process of its own."""
    program = (
        "import sys, json\n"
        "from cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        "tops = sorted({name.split('.')[0] for name in sys.modules})\n"
        "print('\\n' + json.dumps([code, tops]))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=True, timeout=60
    )
    code, tops = json.loads(ended.stdout.splitlines()[-1])
    return code, set(tops)
