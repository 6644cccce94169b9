"""How `stretto hash` shows a file to people and to programs that read JSON, and how far it has got."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from cli.output import human_bytes, printable

if TYPE_CHECKING:
    from collections.abc import Callable


def table_lines(path: bytes, size_bytes: int, blake3: bytes, sha256: bytes | None) -> bytes:
    lines = [f"{printable(os.fsdecode(path))}  {human_bytes(size_bytes)}", f"  BLAKE3   {blake3.hex()}"]
    if sha256 is not None:
        lines.append(f"  SHA-256  {sha256.hex()}")
    return "".join(line + "\n" for line in lines).encode("utf-8", "backslashreplace")


def json_line(path: bytes, size_bytes: int, blake3: bytes, sha256: bytes | None) -> bytes:
    document: dict[str, Any] = {"path": os.fsdecode(path), "bytes": size_bytes, "blake3": blake3.hex()}
    if sha256 is not None:
        document["sha256"] = sha256.hex()
    try:
        path.decode()
    except UnicodeDecodeError:
        document["path_hex"] = path.hex()  # the only exact way to name it in JSON
        return json.dumps(document).encode() + b"\n"  # lone surrogates travel as \udcXX escapes
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


def drawn_progress() -> tuple[Callable[[int], None], Callable[[], None]]:
    """(draw so many bytes, end), on stderr. The total is unknown: the scan is still running."""
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

    columns = (SpinnerColumn(), TextColumn("hashing"), DownloadColumn(), TransferSpeedColumn())
    # No refreshing thread: a process with threads must not fork, and workers may still be started.
    progress = Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
    progress.start()
    task = progress.add_task("hashing", total=None)

    def draw(done_bytes: int) -> None:
        progress.update(task, completed=done_bytes, refresh=True)

    return draw, progress.stop
