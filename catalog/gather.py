"""From folders to claims: every track claimed once, everything else accounted for by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from catalog.claims import SaltSource, Terms, TrackClaim, build_claim
from catalog.examine import Track, examine_all
from catalog.manifest import path_bytes
from catalog.scan import LeftOut


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What became of each file: claimed, left out, or claimed with something a person should look at."""

    claims: tuple[TrackClaim, ...]
    """In the byte order of paths, as a manifest has them; each audio file's bytes once."""
    left_out: tuple[LeftOut, ...]
    notes: tuple[tuple[Path, str], ...]
    """(file, sentence): warnings about its tags, or of which other file it is a copy."""


def gather(
    found: Iterable[Path | LeftOut],
    terms: Terms,
    salts: SaltSource,
    *,
    threads: int | None = None,
    done: Callable[[LeftOut | None], None] | None = None,
) -> Gathered:
    """Claims on what `scan` found. done: called once a file, with why where it was left out."""
    claims: dict[bytes, TrackClaim] = {}
    left_out: list[LeftOut] = []
    notes: list[tuple[Path, str]] = []
    for result in examine_all(sorted(found, key=_path_bytes), threads=threads):
        problem: LeftOut | None = None
        try:
            _add(result, terms, salts, claims, notes)
        except LeftOut as error:
            problem = error
            left_out.append(error)
        if done is not None:
            done(problem)
    return Gathered(claims=tuple(claims.values()), left_out=tuple(left_out), notes=tuple(notes))


def _path_bytes(found: Path | LeftOut) -> bytes:
    return path_bytes((found.path if isinstance(found, LeftOut) else found).as_posix())


def _add(
    result: Track | LeftOut,
    terms: Terms,
    salts: SaltSource,
    claims: dict[bytes, TrackClaim],
    notes: list[tuple[Path, str]],
) -> None:
    """Raises: LeftOut."""
    if isinstance(result, LeftOut):
        raise result
    first = claims.get(result.digests.blake3)
    if first is not None:
        notes.append((result.path, f"the same bytes as {first.path}: claimed once"))
        return
    built = build_claim(result, terms, salts)
    claims[result.digests.blake3] = built
    notes += [(built.path, warning) for warning in built.warnings]
