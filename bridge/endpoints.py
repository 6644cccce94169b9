"""All RPC endpoints of one chain: which may be used, in which order, and what a quorum of them says.

A dead endpoint is tolerated and tried again, one of another chain is never used, one that is slow, limited, lagging or
contradicted is asked last. What a relayer decides by needs a quorum; the rest asks one endpoint.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from bridge.errors import (
    EndpointError,
    EndpointLimited,
    EndpointsDisagree,
    MalformedAnswer,
    NoEndpoint,
    RpcError,
    WrongChainId,
)
from bridge.jsonrpc import Clock, Endpoint, TokenBucket

REST_S: Final = 1.0
"""After a failure an endpoint rests; twice as long after each further one."""
REST_S_MAX: Final = 60.0
BLAME_S: Final = 60.0
"""How long an endpoint that a quorum contradicted, or that lagged, is asked last."""
LAG_BLOCKS_MAX: Final = 3
"""An endpoint whose head is further behind the others' is lagging."""
WAIT_S_MAX: Final = 15.0
"""How long one question waits for an endpoint that rests or whose bucket is empty."""

log = logging.getLogger(__name__)


class Head(NamedTuple):
    """A block's header, as far as it matters here."""

    number: int
    hash: bytes
    time_s: int
    base_fee: int | None
    """wei per gas; None before EIP-1559."""


@dataclass(slots=True)
class _Standing:
    """What is known of one endpoint."""

    endpoint: Endpoint
    bucket: TokenBucket
    verified: bool = False
    refused: WrongChainId | None = None
    rests_until: float = 0.0
    failures: int = 0
    blamed_until: float = 0.0
    head: int = 0
    last_error: str = ""


class Answer(NamedTuple):
    """What one endpoint said: a value, or how it reverted."""

    value: Any
    revert: RpcError | None
    by: _Standing


def number(value: Any) -> int:
    """A JSON-RPC quantity. Raises: ValueError."""
    if not isinstance(value, str) or not value.startswith("0x") or not 3 <= len(value) <= 66:
        raise ValueError("no quantity")
    return int(value[2:], 16)


def data(value: Any, length: int | None = None) -> bytes:
    """JSON-RPC bytes. Raises: ValueError."""
    if not isinstance(value, str) or not value.startswith("0x"):
        raise ValueError("no bytes")
    found = bytes.fromhex(value[2:])
    if length is not None and len(found) != length:
        raise ValueError(f"{len(found)} bytes, expected {length}")
    return found


def head_of(value: Any) -> Head:
    """A header from eth_getBlockByNumber. Raises: ValueError."""
    if not isinstance(value, dict):
        raise ValueError("no block")  # noqa: TRY004  one kind of error for a stranger's answer
    fee = value.get("baseFeePerGas")
    return Head(
        number(value.get("number")),
        data(value.get("hash"), 32),
        number(value.get("timestamp")),
        None if fee is None else number(fee),
    )


class Endpoints:
    """Not shared between threads. Raises in every method: NoEndpoint, EndpointsDisagree, RpcError (for a revert)."""

    def __init__(
        self,
        chain: str,
        chain_id: int,
        endpoints: Sequence[Endpoint],
        *,
        quorum: int | None = None,
        rate: float = 10.0,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """rate: requests a second to each endpoint. quorum: how many must agree; half of them, rounded up, if None."""
        self.chain, self.chain_id = chain, chain_id
        self._standings = [_Standing(each, TokenBucket(rate, max(1.0, rate), clock)) for each in endpoints]
        self.quorum = quorum or (len(endpoints) + 1) // 2
        self._clock, self._sleep = clock, sleep
        self._turn = 0
        self.errors: Counter[tuple[str, str]] = Counter()
        """(label, kind of error) -> how often, since the start."""

    # ---- one answer ----

    def ask(self, method: str, *params: Any, form: Callable[[Any], Any] = lambda value: value) -> Any:
        """One endpoint's answer, from the first that gives one. form: reads it; raises ValueError for nonsense."""
        answer = next(self._answers(method, params, form), None)
        if answer is None:
            raise NoEndpoint(self.chain, self._reasons())
        if answer.revert is not None:
            raise answer.revert
        return answer.value

    def ask_each(self, method: str, *params: Any, form: Callable[[Any], Any]) -> list[Any]:
        """What every usable endpoint says; those that fail or revert say nothing."""
        said = []
        for standing in self._usable():
            try:
                said.append(self._ask_one(standing, method, params, form))
            except (EndpointError, RpcError) as error:
                log.debug("%s", error)
        return said

    def _look_for_lag(self, standing: _Standing, head: int) -> None:
        standing.head = head
        reference = self._reference()
        if head + LAG_BLOCKS_MAX < reference:
            self._blame(standing, "lag", f"its head {head} is behind {reference}")

    def _reference(self) -> int:
        """The head that a quorum has reached; with two endpoints the higher one. A single liar cannot raise it."""
        heads = sorted((each.head for each in self._standings if each.refused is None), reverse=True)
        return heads[min(self.quorum - 1, len(heads) - 1)] if heads else 0

    # ---- a quorum's answer ----

    def agree(self, method: str, *params: Any, form: Callable[[Any], Any] = lambda value: value) -> Any:
        """The value that `quorum` endpoints give; who says otherwise is asked last for a while."""
        votes: list[tuple[Any, Answer]] = []
        # The form's value is what is compared: same meaning, same vote. Reverts vote by what the contract said.
        for answer in self._answers(method, params, form):
            key = ("revert", answer.revert.data) if answer.revert is not None else ("value", answer.value)
            votes.append((key, answer))
            if sum(1 for other, _ in votes if other == key) >= self.quorum:
                for other, by in votes:
                    if other != key:
                        self._blame(by.by, "disagreed", f"{method} differs from what {self.quorum} others say")
                if answer.revert is not None:
                    raise answer.revert
                return answer.value
        said = [f"{answer.by.endpoint.label} says {_short(key[1])}" for key, answer in votes]
        if len(votes) >= self.quorum:
            raise EndpointsDisagree(self.chain, method, said)
        raise NoEndpoint(self.chain, [*said, *self._reasons()])

    def finalized(self, depth: int | None = None) -> Head:
        """The newest block that a quorum calls final. depth: so many below a quorum's head instead."""
        return self._common("finalized", 0) if depth is None else self._common("latest", depth)

    def common_head(self) -> Head:
        """The newest block that a quorum has: what all of them can be asked about."""
        return self._common("latest", 0)

    def _common(self, tag: str, depth: int) -> Head:
        heads: list[int] = []
        enough = min(len(self._usable()), self.quorum + 1)
        for answer in self._answers(
            "eth_getBlockByNumber", (tag, False), head_of, patient=lambda: len(heads) < self.quorum
        ):
            if answer.revert is None:
                heads.append(answer.value.number)
                if tag == "latest":
                    self._look_for_lag(answer.by, answer.value.number)
            if len(heads) >= enough:
                break
        if len(heads) < self.quorum:
            raise NoEndpoint(self.chain, self._reasons())
        # With more than a quorum heard, one that is far ahead does not decide.
        height = sorted(heads, reverse=True)[self.quorum - 1] - depth
        found: Head = self.agree("eth_getBlockByNumber", hex(max(0, height)), False, form=head_of)
        return found

    def broadcast(self, raw: bytes) -> list[tuple[str, RpcError | None]]:
        """Offers a signed transaction to every usable endpoint. Label and error answer of each that answered."""
        told: list[tuple[str, RpcError | None]] = []
        for standing in self._usable():
            try:
                self._ask_one(standing, "eth_sendRawTransaction", ("0x" + raw.hex(),), lambda value: value)
                told.append((standing.endpoint.label, None))
            except RpcError as error:
                told.append((standing.endpoint.label, error))
            except EndpointError as error:
                log.debug("%s", error)
        if not told:
            raise NoEndpoint(self.chain, self._reasons())
        return told

    # ---- who may be asked ----

    def verify_all(self) -> list[WrongChainId]:
        """Asks every endpoint for its chain id. Those of another chain, by name; dead ones are no matter here."""
        for standing in self._standings:
            try:
                self._ask_one(standing, "eth_chainId", (), number)
            except (EndpointError, RpcError):
                continue
        return [each.refused for each in self._standings if each.refused is not None]

    def standings(self) -> list[dict[str, Any]]:
        """For status and metrics: label, head, and what is wrong, by endpoint."""
        now = self._clock()
        return [
            {
                "endpoint": each.endpoint.label,
                "head": each.head,
                "state": _state(each, now),
                "last_error": str(each.refused or each.last_error),
            }
            for each in self._standings
        ]

    def close(self) -> None:
        for each in self._standings:
            each.endpoint.close()

    def _usable(self) -> list[_Standing]:
        """Those that do not rest: trusted ones first, in turn, so that none is the only one that is heard."""
        now, count = self._clock(), len(self._standings)
        self._turn += 1
        turned = [self._standings[(self._turn + i) % count] for i in range(count)] if count else []
        free = [each for each in turned if each.refused is None and each.rests_until <= now]
        return sorted(free, key=lambda each: each.blamed_until > now)

    def _answers(
        self,
        method: str,
        params: Sequence[Any],
        form: Callable[[Any], Any],
        *,
        patient: Callable[[], bool] = lambda: True,
    ) -> Iterator[Answer]:
        """Answers of one endpoint after the other. patient: whether to wait for those that rest."""
        deadline = self._clock() + WAIT_S_MAX
        asked: set[int] = set()
        while True:
            for standing in self._usable():
                if id(standing) in asked:
                    continue
                try:
                    value = self._ask_one(standing, method, params, form)
                except RpcError as error:
                    if error.is_revert:
                        asked.add(id(standing))
                        yield Answer(None, error, standing)
                        continue
                    self._failed(standing, error, rest=False)
                    asked.add(id(standing))
                    continue
                except EndpointError:
                    continue  # it rests now, and may be asked again within the deadline
                asked.add(id(standing))
                yield Answer(value, None, standing)
            waiting = [each for each in self._standings if id(each) not in asked and each.refused is None]
            pause = min((each.rests_until for each in waiting), default=0.0) - self._clock()
            if not waiting or not patient() or self._clock() + pause > deadline:
                break
            self._sleep(max(pause, 0.01))

    def _ask_one(self, standing: _Standing, method: str, params: Sequence[Any], form: Callable[[Any], Any]) -> Any:
        """Raises: EndpointError (it rests then), RpcError."""
        if standing.refused is not None:
            raise standing.refused
        try:
            if not standing.verified:
                self._verify(standing)
                if method == "eth_chainId":
                    return self.chain_id
            self._take(standing)
            value = standing.endpoint.ask(method, params)
            try:
                read = form(value)
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise MalformedAnswer(standing.endpoint.label, f"{method}: {error}") from error
        except EndpointError as error:
            self._failed(standing, error)
            raise
        standing.failures = 0
        return read

    def _verify(self, standing: _Standing) -> None:
        self._take(standing)
        try:
            got = number(standing.endpoint.ask("eth_chainId", ()))
        except ValueError as error:
            raise MalformedAnswer(standing.endpoint.label, "eth_chainId: no quantity") from error
        except RpcError as error:
            raise EndpointError(standing.endpoint.label, f"eth_chainId: {error.message}") from error
        if got != self.chain_id:
            standing.refused = WrongChainId(standing.endpoint.label, self.chain_id, got)
            log.error("chain %s: %s", self.chain, standing.refused)
            raise standing.refused
        standing.verified = True

    def _take(self, standing: _Standing) -> None:
        while (wait := standing.bucket.take()) > 0:
            self._sleep(max(wait, 0.001))

    def _failed(self, standing: _Standing, error: EndpointError | RpcError, *, rest: bool = True) -> None:
        standing.last_error = str(error)
        self.errors[standing.endpoint.label, type(error).__name__] += 1
        if not rest:
            return
        standing.failures += 1
        pause = min(REST_S_MAX, REST_S * 2 ** min(standing.failures - 1, 16))
        if isinstance(error, EndpointLimited):
            pause = error.retry_after_s
        else:
            standing.verified = False  # behind the same name there may be another machine when it is back
        standing.rests_until = self._clock() + pause
        log.warning("chain %s: %s; it rests for %.0f s", self.chain, error, pause)

    def _blame(self, standing: _Standing, kind: str, why: str) -> None:
        if standing.blamed_until <= self._clock():
            log.warning("chain %s: endpoint %s: %s; it is asked last", self.chain, standing.endpoint.label, why)
        standing.blamed_until = self._clock() + BLAME_S
        standing.last_error = why
        self.errors[standing.endpoint.label, kind] += 1

    def _reasons(self) -> list[str]:
        return [
            str(each.refused or each.last_error or f"endpoint {each.endpoint.label}: not asked")
            for each in self._standings
        ]


def _state(standing: _Standing, now: float) -> str:
    if standing.refused is not None:
        return "refused"
    if standing.rests_until > now:
        return "rests"
    return "blamed" if standing.blamed_until > now else "ok" if standing.verified else "not asked"


def _short(value: Any) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
