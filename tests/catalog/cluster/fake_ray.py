"""As much of Ray as the engine uses, in this process: machines and workers fail when a test says so."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        super().__init__(f"a page about {cause!r}")
        self.cause = cause


class RayActorError(RayError):
    pass


@dataclass(eq=False)
class Reference:
    """A call that was sent. It runs when somebody waits for it."""

    actor: Actor
    method: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


@dataclass(eq=False)
class Actor:
    """One worker. dead: why calls fail, or None."""

    node_id: str
    options: dict[str, Any]
    target: Any
    number: int
    dead: str | None = None
    stuck: bool = False

    def __getattr__(self, method: str) -> Any:
        def remote(*arguments: Any, **keywords: Any) -> Reference:
            return Reference(self, method, arguments, keywords)

        return SimpleNamespace(remote=remote)


@dataclass
class FakeRay:
    """machines: (name, resources). before: told of each call that is about to run; it may kill the actor, or raise."""

    machines: list[tuple[str, dict[str, float]]]
    before: Callable[[Reference], None] = lambda _: None
    actors: list[Actor] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    killed: list[Actor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError, RayActorError=RayActorError)
        strategies = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node_id, **_: node_id)
        self.util = SimpleNamespace(scheduling_strategies=strategies)
        self._numbers = itertools.count()

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"NodeID": name, "Alive": name not in self.gone, "Resources": resources, "NodeManagerHostname": name}
            for name, resources in self.machines
        ]

    def remote(self, kind: type) -> Any:
        def options(**given: Any) -> Any:
            def create(**arguments: Any) -> Actor:
                actor = Actor(given["scheduling_strategy"], given, kind(**arguments), next(self._numbers))
                self.actors.append(actor)
                return actor

            return SimpleNamespace(remote=create)

        return SimpleNamespace(options=options)

    def wait(
        self, references: Sequence[Reference], *, num_returns: int, **_: float
    ) -> tuple[list[Reference], list[Reference]]:
        ready = [one for one in references if not one.actor.stuck][:num_returns]
        return ready, [one for one in references if one not in ready]

    def get(self, reference: Reference) -> Any:
        actor = reference.actor
        if actor.node_id in self.gone:
            actor.dead = actor.dead or "the actor's node was terminated"
        if actor.dead is None:
            self.before(reference)
        if actor.dead is not None:
            raise RayActorError(actor.dead)
        return getattr(actor.target, reference.method)(*reference.arguments, **reference.keywords)

    def kill(self, actor: Actor) -> None:
        self.killed.append(actor)
        actor.dead = actor.dead or "killed"
