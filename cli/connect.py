"""One way to talk to a node for all verbs: an address checked, a deadline kept, errors turned into exit codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Timer

import grpc

from cli.client import DEADLINE_S, NodeClient, NodeError, NodeUnreachable
from cli.output import CliError, Exit

_ADDRESS = re.compile(r"(?:\[[0-9a-fA-F:.%]+\]|[^:/\s]+):([0-9]{1,5})")
GRACE_S = 1.0
"""A node that keeps to the deadline itself says more about why than we could: let it speak first."""

_EXITS = {
    "NOT_FOUND": Exit.REFUSED,
    "INVALID_ARGUMENT": Exit.REFUSED,
    "ALREADY_EXISTS": Exit.REFUSED,
    "FAILED_PRECONDITION": Exit.REFUSED,
    "OUT_OF_RANGE": Exit.REFUSED,
    "PERMISSION_DENIED": Exit.FORBIDDEN,
    "UNAUTHENTICATED": Exit.REFUSED,
    "DEADLINE_EXCEEDED": Exit.RETRY,
    "RESOURCE_EXHAUSTED": Exit.RETRY,
    "ABORTED": Exit.RETRY,
}
"""gRPC's word -> how the command ends. Anything else is a node that does not work."""


class OutOfTime(CliError):
    """The command's own deadline passed."""


@contextmanager
def connected(address: str, deadline_s: float | None) -> Iterator[NodeClient]:
    """A client of the node at HOST:PORT. Past the deadline (None: never) everything it still does is cut off.

    Raises: CliError for whatever the node or the way to it refuses; OutOfTime.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match[1]) < 65_536:
        raise CliError(f"--node {address!r}: expected HOST:PORT, such as 127.0.0.1:5101", Exit.USAGE)
    late = Event()
    with NodeClient(address, deadline_s=deadline_s or DEADLINE_S) as client:

        def cut_off() -> None:
            late.set()
            client.close()

        # Streams have no deadline of their own; closing the channel ends them wherever they wait.
        timer = Timer(deadline_s + GRACE_S, cut_off) if deadline_s is not None else None
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            yield client
        except (NodeError, NodeUnreachable, grpc.RpcError, ValueError) as error:
            if late.is_set():
                message = f"no answer from {address} within {deadline_s:g} s: try again, or raise --deadline"
                raise OutOfTime(message, Exit.RETRY) from error
            raise _explained(error, address) from error
        finally:
            if timer is not None:
                timer.cancel()


def _explained(error: Exception, address: str) -> Exception:
    if isinstance(error, NodeUnreachable):
        return CliError(str(error), Exit.UNREACHABLE)
    if isinstance(error, NodeError):
        code = Exit.INCOMPLETE if error.code == "NOT_YET_FINAL" else _EXITS.get(error.status, Exit.UNREACHABLE)
        details = {"code": error.code, "field": error.field, "value": error.value, "expected": error.expected}
        said = str(error).removeprefix(f"{error.code}: ")
        return CliError(f"{address} answers {error.code}: {said}", code, **{k: v for k, v in details.items() if v})
    return error
