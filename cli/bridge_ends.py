"""How errors of the bridge end a command: one place for `stretto bridge` and `stretto mint`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cli.output import CliError, Exit


def ended(error: Exception) -> CliError:
    """How an error of the bridge ends a command."""
    from bridge.anchoring import NotAnchored
    from bridge.config import ConfigError
    from bridge.errors import (
        BalanceTooLow,
        BridgeFrozen,
        EndpointsDisagree,
        ExposedSecret,
        FeeOverCap,
        JournalError,
        NodeRefuses,
        NoEndpoint,
        SignerError,
        WrongChainId,
        WrongContract,
    )
    from bridge.minting import NotCovered, NotMined

    match error:
        case ExposedSecret():
            code = Exit.FORBIDDEN
        case NoEndpoint():
            code = Exit.UNREACHABLE
        case NodeRefuses():
            code = Exit.UNREACHABLE if error.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED") else Exit.REFUSED
        case FeeOverCap() | BalanceTooLow() | EndpointsDisagree() | NotCovered() | NotMined() | NotAnchored():
            code = Exit.RETRY
        case BridgeFrozen():
            code = Exit.REFUSED
        case ConfigError() | SignerError() | WrongChainId() | WrongContract() | JournalError():
            code = Exit.CONFIG
        case _:
            code = Exit.REFUSED
    return CliError(str(error), code, error=type(error).__name__)


@contextmanager
def ends() -> Iterator[None]:
    """Turns what the bridge raises inside into how the command ends."""
    from consensus.errors import StrettoError

    try:
        yield
    except StrettoError as error:
        if not type(error).__module__.startswith("bridge."):
            raise  # files and statements end a command as everywhere
        raise ended(error) from error
