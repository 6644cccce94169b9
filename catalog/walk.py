"""Which files a set of paths names, by the bytes of their names: `catalog.scan` without its imports.

`stretto hash` spends less time on small jobs than Python spends on importing `pathlib`, `typing` or `dataclasses`. So
the modules on its way (this one, `catalog.content`, `catalog.crew`, `catalog.digest_journal`, `kernels.cpu`) import
next to nothing, and handle names as the bytes the system gave.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False  # typing's own costs 5 ms to import; type checkers know the name
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Unusable(Exception):
    """A file that was named or found but cannot be used.

    path: as named or found. reason: what is wrong with it, in words that fit after its name. number: the system's for
    the error (errno), 0 where it had none.
    """

    def __init__(self, path: bytes, reason: str, number: int = 0) -> None:
        super().__init__(f"{os.fsdecode(path)}: {reason}")
        self.path = path
        self.reason = reason
        self.number = number


def explain(error: OSError) -> str:
    """The system's own words for what went wrong, without the path (the caller names it)."""
    words = {FileNotFoundError: "no such file", PermissionError: "permission denied"}.get(type(error))
    return words or (error.strerror or type(error).__name__).lower()


def walk(paths: Iterable[bytes], visited: set[tuple[int, int]] | None = None) -> Iterator[bytes | Unusable]:
    """Regular files under `paths`: paths in the order given, folders depth first, entries by the bytes of their names.

    Symbolic links are followed. A folder is entered once however many ways lead to it, so loops end and nothing is
    listed twice through linked folders. What is neither a file nor a folder, or cannot be read, is yielded as Unusable
    in its place, never raised. Memory: the names of the folders on the way down, one folder's at each level.

    visited: (device, inode) of folders not to be entered; those that are entered are added.
    """
    visited = set() if visited is None else visited
    for path in paths:
        # A stack instead of recursion: depth is the file system's choice, not the interpreter's.
        entered = _look(path, visited)
        if not isinstance(entered, list):
            if entered is not None:
                yield entered
            continue
        stack = [entered]
        while stack:
            here = stack[-1]
            if not here:
                stack.pop()
                continue
            _, entry = here.pop()
            # Most entries end here: the folder's listing says that it is a file, no question to the system is needed.
            try:
                plain = entry.is_file(follow_symlinks=False)
            except OSError:  # a listing without kinds, and the question fails: so will the next, which is explained
                plain = False
            if plain:
                yield entry.path
                continue
            entered = _look(entry.path, visited)
            if isinstance(entered, list):
                stack.append(entered)
            elif entered is not None:
                yield entered


def _look(
    path: bytes, visited: set[tuple[int, int]]
) -> list[tuple[bytes, os.DirEntry[bytes]]] | bytes | Unusable | None:
    """A folder's entries, the last name first; the path of a file; None for a folder that was entered before."""
    try:
        status = os.stat(path)  # noqa: PTH116
        if stat.S_ISREG(status.st_mode):
            return path
        if not stat.S_ISDIR(status.st_mode):
            return Unusable(path, "neither a file nor a folder")
        if (status.st_dev, status.st_ino) in visited:
            return None
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(path) as entries:
            return sorted([(entry.name, entry) for entry in entries], reverse=True)
    except OSError as error:
        return Unusable(path, explain(error), error.errno or 0)
    except ValueError as error:  # a NUL in a name that was given
        return Unusable(path, str(error))
