"""What went into an engine and what came out, so that it can be played again: a core is a function of its events."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consensus.engine import Engine
from consensus.events import Event, Output

if TYPE_CHECKING:
    from tests.simulation.machine import Machine


@dataclass
class Recording:
    """One engine's life. outputs: SHA-256 over all of them, in order."""

    make: Callable[[], Engine]
    steps: list[tuple[Event, ...]] = field(default_factory=list)
    outputs: hashlib._Hash = field(default_factory=hashlib.sha256)

    def note(self, outputs: tuple[Output, ...]) -> None:
        for output in outputs:
            self.outputs.update(repr(output).encode())

    def replay(self) -> str:
        """SHA-256 over the outputs of a new engine that is given the same events."""
        again = Recording(self.make)
        engine = self.make()
        for events in self.steps:
            again.note(engine.step(*events))
        return again.outputs.hexdigest()


class Recorder:
    """Keeps every engine's life, oldest first, where `keeps`; most runs have no use for them."""

    def __init__(self, *, keeps: bool = False) -> None:
        self._keeps = keeps
        self._current: dict[int, Recording] = {}
        self.recordings: list[Recording] = []

    def started(self, machine: Machine, make: Callable[[], Engine]) -> None:
        if self._keeps:
            self._current[id(machine)] = Recording(make)
            self.recordings.append(self._current[id(machine)])

    def stepped(self, machine: Machine, events: tuple[Event, ...], outputs: tuple[Output, ...]) -> None:
        if self._keeps:
            self._current[id(machine)].steps.append(events)
            self._current[id(machine)].note(outputs)
