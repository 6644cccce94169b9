"""The work of `stretto hash`, without click: read, hash in parallel, print in order.

`cli.start` comes here directly where the arguments are plain, `cli.hash` after click has read them. What is imported at
the top is paid for by every call (see `catalog.walk`); what only some need is imported where they need it.
"""

from __future__ import annotations

import os
import sys
import time

from catalog.content import Reader, memory_bytes
from catalog.crew import PROCESSES_MAX, Crew, Ready, processors
from catalog.walk import Unusable, walk
from kernels.calibrated import is_any_calibrated

TYPE_CHECKING = False  # see catalog.walk
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from catalog.content import Content
    from catalog.crew import Task, Work
    from catalog.digest_journal import Journal

OK, LEFT_OUT = 0, 3  # cli.output.Exit, which would bring click along
LAYOUTS = ("b3sum", "sha256sum", "json", "table")
TOLD_AHEAD_FILES = 8
"""So many files of a batch are asked for before they are read, where files come from disk."""
PROGRESS_AFTER_S = 1.0

_OUT, _ERR, _KEEP = b"O", b"E", b"J"
"""Parts of an answer: for stdout, for stderr, for the journal. Each with its length in 4 bytes."""


class Wanted:
    """What a command line asks for."""

    __slots__ = ("journal", "layout", "sha256", "threads")

    def __init__(
        self, *, layout: str | None = None, sha256: bool = False, threads: int | None = None, journal: str | None = None
    ) -> None:
        """layout: one of LAYOUTS. sha256: SHA-256 is wanted; so it is by naming a layout that has it.

        Without either it is BLAKE3 alone, as a table on a terminal, else as b3sum prints it.
        """
        piped = "sha256sum" if sha256 else "b3sum"
        self.layout = layout or ("table" if sys.stdout.isatty() else piped)
        self.sha256 = sha256 or layout in ("sha256sum", "json", "table")
        self.threads = threads
        self.journal = journal


def parse(arguments: list[str]) -> tuple[Wanted, list[str]] | None:
    """(what is wanted, paths) of a plain command line; None where click must look: help, faults, anything unusual."""
    layout = journal = None
    sha256, threads = False, None
    rest = iter(arguments)
    paths: list[str] = []
    for one in rest:
        if not one.startswith("-"):
            paths.append(one)
        elif one == "--":
            paths += rest
        elif one == "--json":
            layout = "json"
        elif one == "--sha256":
            sha256 = True
        elif one == "--resume":
            journal = next(rest, None)
        elif one == "--threads" and (value := next(rest, "")).isdecimal() and 1 <= int(value) <= PROCESSES_MAX:
            threads = int(value)
        else:
            return None
    if not paths or "" in paths or journal == "":
        return None
    return Wanted(layout=layout, sha256=sha256, threads=threads, journal=journal), paths


def run(wanted: Wanted, paths: Iterable[str]) -> int:
    """Prints the digests of all files under `paths`. Returns the exit code.

    Raises: OSError; CliError where the journal is none.
    """
    journal = _journal(wanted.journal) if wanted.journal is not None else None
    bench = _Bench(wanted, journaled=journal is not None)
    left_out = 0
    out = sys.stdout.buffer
    with _Progress() as progress:
        for answer in _answers(bench, _items(bench, paths, journal), progress.advance):
            for kind, data in _parts(answer):
                if kind == _OUT:
                    out.write(data)
                elif kind == _KEEP:
                    assert journal is not None, "only a bench with a journal makes entries"
                    journal.add(data)
                else:
                    left_out += data.startswith(b"-")
                    _complain(data[1:])
    return LEFT_OUT if left_out else OK


def _journal(path: str) -> Journal:
    from catalog.digest_journal import Journal, JournalDamaged

    try:
        return Journal(path)
    except JournalDamaged as error:
        from cli.output import CliError, Exit

        raise CliError(f"--resume {error}", Exit.DATA) from error


def _answers(bench: _Bench, items: Iterator[bytes | Ready], advance: Callable[[int], None] | None) -> Iterator[bytes]:
    if is_any_calibrated() and not bench.with_sha256:
        from cli import sum_gpu

        ahead = sum_gpu.Ahead(items)
        hasher = sum_gpu.open_gpu(ahead, threads=bench.processes, say=lambda line: _complain(os.fsencode(line)))
        items = ahead.all()
        if hasher is not None:
            keep_bytes = memory_bytes() // 2
            return sum_gpu.answers(
                hasher, items, threads=bench.processes, keep_bytes=keep_bytes, make=bench.answer, advance=advance
            )
    try:
        crew = Crew(
            bench.hire,
            bench.redo,
            processes=bench.processes,
            notice=lambda how: _complain(f"a worker process ended ({how}): what it had is read again".encode()),
            advance=advance,
        )
    except (AttributeError, OSError):  # no pipes in packet mode: not Linux. Then one process does it all.
        return (item.answer if isinstance(item, Ready) else bench.redo([item]) for item in items)
    return crew.answers(items)


def _items(bench: _Bench, paths: Iterable[str], journal: Journal | None) -> Iterator[bytes | Ready]:
    for found in walk(map(os.fsencode, paths)):
        if isinstance(found, Unusable):
            answer = _Answer()
            answer.add(_ERR, _left_out(found))
            yield Ready(answer.packed())
        elif journal is None:
            yield found
        elif not journal.is_this(found):
            known = journal.known(found, with_sha256=bench.with_sha256)
            if known is None:
                yield found
            else:
                answer = _Answer()
                bench.show(answer, found, *known)
                yield Ready(answer.packed())


class _Bench:
    """Where files become lines, in a worker or here."""

    def __init__(self, wanted: Wanted, *, journaled: bool) -> None:
        self.processes = min(wanted.threads or processors(), PROCESSES_MAX)
        self.with_sha256 = wanted.sha256
        self._journaled = journaled
        self._layout = wanted.layout
        if self._layout in ("json", "table"):
            from cli import sum_forms

            self._shown = {"json": sum_forms.json_line, "table": sum_forms.table_lines}[self._layout]

    def hire(self, task: Task) -> Work:
        reader = Reader(
            with_sha256=self.with_sha256,
            mapped=True,
            keep_bytes=memory_bytes() // 2 // self.processes,
            parallel=task.nothing_waits if self.processes > 1 else lambda: False,
            advance=task.weigh,
        )
        return lambda paths: self._hash(reader, paths)

    def redo(self, paths: list[bytes]) -> bytes:
        """In this process, so without mapping: a fault in a file then comes as an error that can be named."""
        return self._hash(Reader(with_sha256=self.with_sha256), paths)

    def answer(self, path: bytes, content: Content | None) -> bytes:
        """For one file, whose content another backend has told; else it is read in this process."""
        if content is None:
            return self.redo([path])
        answer = _Answer()
        self.show(answer, path, content.size_bytes, content.blake3, content.sha256)
        if self._journaled:
            answer.add(_KEEP, _entry(path, content))
        return answer.packed()

    def _hash(self, reader: Reader, paths: list[bytes]) -> bytes:
        answer = _Answer()
        keep: list[bytes] = []
        told = 0
        for i, path in enumerate(paths):
            if reader.from_disk:
                for ahead in paths[max(told, i + 1) : i + 1 + TOLD_AHEAD_FILES]:
                    reader.tell_ahead(ahead)
                told = i + 1 + TOLD_AHEAD_FILES
            try:
                content = reader.content(path)
            except Unusable as problem:
                answer.add(_ERR, _left_out(problem))
                continue
            self.show(answer, path, content.size_bytes, content.blake3, content.sha256)
            if self._journaled:
                keep.append(_entry(path, content))
        answer.add(_KEEP, b"".join(keep))
        return answer.packed()

    def show(self, answer: _Answer, path: bytes, size_bytes: int, blake3: bytes, sha256: bytes | None) -> None:
        """Adds one file's lines."""
        if self._layout == "b3sum":
            answer.add(_OUT, sum_line(blake3, _b3sum_name(answer, path), _ESCAPED_B3SUM))
        elif self._layout == "sha256sum":
            assert sha256 is not None, "Wanted has it computed"
            answer.add(_OUT, sum_line(sha256, path, _ESCAPED_SHA256SUM))
        else:
            answer.add(_OUT, self._shown(path, size_bytes, blake3, sha256 if self.with_sha256 else None))


class _Answer:
    """Parts in order, neighbours of a kind joined."""

    __slots__ = ("_done", "_kind", "_open")

    def __init__(self) -> None:
        self._done: list[bytes] = []
        self._kind = _OUT
        self._open: list[bytes] = []

    def add(self, kind: bytes, data: bytes) -> None:
        if kind != self._kind or kind == _ERR:
            self._close()
            self._kind = kind
        self._open.append(data)

    def packed(self) -> bytes:
        self._close()
        return b"".join(self._done)

    def _close(self) -> None:
        data = b"".join(self._open)
        self._open.clear()
        if data:
            self._done += (self._kind, len(data).to_bytes(4, "little"), data)


# ---- check files -----------------------------------------------------------------------------------------------------

_ESCAPED_B3SUM = ((b"\\", b"\\\\"), (b"\n", b"\\n"))
_ESCAPED_SHA256SUM = (*_ESCAPED_B3SUM, (b"\r", b"\\r"))


def _b3sum_name(answer: _Answer, path: bytes) -> bytes:
    try:
        path.decode()
    except UnicodeDecodeError:
        # b3sum's check files are UTF-8 throughout, and one bad byte stops it reading the whole file. So, like b3sum,
        # write U+FFFD for bytes that are not UTF-8; b3sum then refuses that one line and checks the others.
        warning = b": b3sum cannot check a name that is not UTF-8; sha256sum can (--format sha256sum)"
        answer.add(_ERR, b"+" + path + warning)
        return path.decode("utf-8", "replace").encode()
    return path


def sum_line(digest: bytes, name: bytes, escaped: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """One line of a check file: digest, two spaces, name; a leading backslash says that the name is escaped.

    escaped: (raw, written) in the order of replacement, the backslash first. Source: b3sum 1.2.0, coreutils 9.1.
    """
    mark = b""
    if any(raw in name for raw, _ in escaped):
        mark = b"\\"
        for raw, written in escaped:
            name = name.replace(raw, written)
    return b"%s%s  %s\n" % (mark, digest.hex().encode(), name)


# ---- answers ---------------------------------------------------------------------------------------------------------


def _parts(answer: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, data) of what `_Answer` packed."""
    start = 0
    while start < len(answer):
        end = start + 5 + int.from_bytes(answer[start + 1 : start + 5], "little")
        yield answer[start : start + 1], answer[start + 5 : end]
        start = end


def _left_out(problem: Unusable) -> bytes:
    return b"-" + problem.path + b": " + os.fsencode(problem.reason) + b"; left out"


def _entry(path: bytes, content: Content) -> bytes:
    from catalog.digest_journal import line

    return line(path, content)


def _complain(message: bytes) -> None:
    from cli.output import complain

    complain(os.fsdecode(message))


class _Progress:
    """Bytes and rate on stderr, on a terminal only, and only where the work takes long enough to wonder."""

    def __init__(self) -> None:
        # A table on the same terminal is progress enough.
        drawn = sys.stderr.isatty() and not sys.stdout.isatty()
        self.advance: Callable[[int], None] | None = self._advance if drawn else None
        self._began = time.monotonic()
        self._drawn_at = self._began
        self._draw: Callable[[int], None] | None = None
        self._end: Callable[[], None] | None = None

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._end is not None:
            self._end()

    def _advance(self, done_bytes: int) -> None:
        now = time.monotonic()
        if now - self._began < PROGRESS_AFTER_S or now - self._drawn_at < 0.1:
            return
        self._drawn_at = now
        if self._draw is None:
            from cli.sum_forms import drawn_progress

            self._draw, self._end = drawn_progress()
        self._draw(done_bytes)
