"""What a fuzz target is: bytes in, and either an error that is documented or a value that comes out the same again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

INPUT_BYTES_MAX = 64 * 1024
"""Longer inputs find nothing that these do not, and take longer."""


class Broken(AssertionError):
    """A property does not hold; the sentence says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One decoder.

    run: decodes, and checks what must hold of what it accepts. errors: what it may raise, and nothing else.
    seeds: honest inputs to start from, made anew at each call (some cost signatures); each must be accepted.
    """

    name: str
    run: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    errors: tuple[type[Exception], ...] = ()

    def accepts(self, data: bytes) -> bool:
        """Whether it was decoded; False where it was refused as documented. Raises: whatever is a finding."""
        try:
            self.run(data)
        except self.errors:
            return False
        return True


def holds(condition: object, sentence: str) -> None:
    """Raises: Broken."""
    if not condition:
        raise Broken(sentence)


def canonical(decode: Callable[[bytes], object], encode: Callable[[object], bytes]) -> Callable[[bytes], object]:
    """Of a format with one encoding a value: whatever is accepted is what its value is encoded as."""

    def run(data: bytes) -> object:
        value = decode(data)
        again = encode(value)
        holds(again == data, f"accepted {data.hex()[:200]}, encoded as {again.hex()[:200]}")
        return value

    return run


def stable(decode: Callable[[bytes], object], encode: Callable[[object], bytes]) -> Callable[[bytes], object]:
    """Of a format with several: what is encoded is accepted, and means the same."""

    def run(data: bytes) -> object:
        value = decode(data)
        again = decode(encode(value))
        holds(again == value, f"{value!r:.300} came back as {again!r:.300}")
        return value

    return run
