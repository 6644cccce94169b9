"""How a rule is broken for the time of a run: what the modules of mutants share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from unittest.mock import patch

Breaks = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Mutant:
    """A rule left out. pitfall: its number in research/consensus.md, section 5, or the rule's name.

    focus: which runs to try it on, a name of `scenario.FOCUS`; by default all.
    equivalent: why nothing can come of it, where nothing can.
    """

    name: str
    pitfall: str
    breaks: Breaks
    focus: str = ""
    equivalent: str = ""


def instead(owner: object, name: str, value: object) -> AbstractContextManager[object]:
    """`value` in the place of an attribute of a class or module."""
    return patch.object(owner, name, value)


@contextmanager
def everywhere(name: str, value: object, *owners: object) -> Iterator[None]:
    """The same in several modules that import it."""
    with ExitStack() as stack:
        for owner in owners:
            stack.enter_context(patch.object(owner, name, value))
        yield


def nothing(*_: object, **__: object) -> None:
    """In place of a check: it finds no fault."""
