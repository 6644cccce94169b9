"""Options that several commands share, handed over as one value: one place for what click needs to be told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def gathered(function: Callable[..., Any], gather: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[..., Any]:
    """`function` to be decorated with more options than it takes.

    gather: takes its own out of the options, and gives what `function` gets in their place.
    """

    def command(**options: Any) -> int:
        made = gather(options)
        result: int = function(**made, **options)
        return result

    command.__doc__ = function.__doc__
    command.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    return command
