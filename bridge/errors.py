"""What goes wrong between a node, a public chain and this relayer; who is to blame is in the base class."""

from __future__ import annotations

from collections.abc import Sequence

from consensus.errors import LocalError, PeerError


class EndpointError(PeerError):
    """An RPC endpoint did not answer as it should. endpoint: its label, never its URL (which may hold a key)."""

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(f"endpoint {endpoint}: {reason}")
        self.endpoint = endpoint
        self.reason = reason


class EndpointTimeout(EndpointError):
    """No whole answer within the limit."""


class EndpointLimited(EndpointError):
    """HTTP 429 or the like. retry_after_s: for how long the endpoint wants to be left alone."""

    def __init__(self, endpoint: str, retry_after_s: float) -> None:
        super().__init__(endpoint, f"too many requests; it asks for a pause of {retry_after_s:g} s")
        self.retry_after_s = retry_after_s


class MalformedAnswer(EndpointError):
    """Not a JSON-RPC answer, too large, or not of the form that the method has."""


class WrongChainId(EndpointError):
    """The endpoint serves another chain than the configuration says: it is never used."""

    def __init__(self, endpoint: str, expected: int, got: int) -> None:
        super().__init__(endpoint, f"serves chain id {got}, expected {expected}; mend the rpc list of the chain")
        self.expected = expected
        self.got = got


class RpcError(PeerError):
    """A JSON-RPC error object. data: what a contract reverted with, or empty."""

    def __init__(self, endpoint: str, code: int, message: str, data: bytes = b"") -> None:
        super().__init__(f"endpoint {endpoint}: error {code}: {message}")
        self.endpoint = endpoint
        self.code = code
        self.message = message
        self.data = data

    @property
    def is_revert(self) -> bool:
        """Whether the chain ran the call and the contract undid it."""
        return bool(self.data) or self.code == 3 or "revert" in self.message.lower()


class NoEndpoint(LocalError):
    """Too few endpoints of a chain answer. reasons: one for each that was tried or rests."""

    def __init__(self, chain: str, reasons: Sequence[str]) -> None:
        super().__init__(f"chain {chain}: no usable endpoint: {'; '.join(reasons) or 'none is configured'}")
        self.chain = chain
        self.reasons = tuple(reasons)


class EndpointsDisagree(PeerError):
    """Endpoints of one chain answer differently, and no answer has the read quorum: nothing is sent on such a basis."""

    def __init__(self, chain: str, method: str, answers: Sequence[str]) -> None:
        super().__init__(f"chain {chain}: endpoints disagree on {method}: {'; '.join(answers)}")
        self.chain = chain
        self.method = method
        self.answers = tuple(answers)


class ContractRefuses(PeerError):
    """The contract would undo the call, so it is not sent. name: such as StaleEpoch(3, 4)."""

    def __init__(self, chain: str, name: str) -> None:
        super().__init__(f"chain {chain}: the contract refuses: {name}; nothing was sent")
        self.chain = chain
        self.name = name


class WrongContract(LocalError):
    """At the configured address is not the contract of this consortium. field: what differs."""

    def __init__(self, chain: str, address: str, field: str, expected: str, got: str) -> None:
        super().__init__(f"chains.{chain}: contract {address}: {field}: expected {expected}, got {got}")
        self.chain = chain
        self.field = field


class CheckpointRefused(PeerError):
    """A checkpoint that the contract would not take: the node that gave it is wrong or lies. rule: the contract's name
    for it where it has one, such as ZeroRoot."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(f"checkpoint refused: {rule}: {reason}; nothing was sent")
        self.rule = rule
        self.reason = reason


class ForkFound(PeerError):
    """A quorum signed what contradicts what the chain has recorded. kept: the file with both checkpoints."""

    def __init__(self, chain: str, reason: str, kept: str) -> None:
        super().__init__(
            f"chain {chain}: FORK: {reason}. Relaying stops. Both checkpoints are in {kept}: show them to every member"
        )
        self.chain = chain
        self.reason = reason
        self.kept = kept


class BridgeFrozen(LocalError):
    """The contract was frozen by a proof that validators contradicted themselves. kept: the file with both."""

    def __init__(self, chain: str, kept: str) -> None:
        where = f"both checkpoints are in {kept}" if kept else "its evidence could not be fetched yet"
        super().__init__(f"chain {chain}: the bridge is FROZEN by a fork proof; relaying stops; {where}")
        self.chain = chain
        self.kept = kept


class BalanceTooLow(LocalError):
    """The relayer's account cannot pay for the next transaction. Amounts are in wei."""

    def __init__(self, chain: str, address: str, balance: int, needed: int) -> None:
        super().__init__(f"chain {chain}: account {address} has {balance} wei and needs up to {needed}; fund it")
        self.chain = chain
        self.address = address
        self.balance = balance
        self.needed = needed


class FeeOverCap(LocalError):
    """The chain asks for more than the configuration allows. wei per gas."""

    def __init__(self, chain: str, needed: int, cap: int) -> None:
        super().__init__(f"chain {chain}: gas costs {needed / 1e9:g} gwei, fee_cap_gwei allows {cap / 1e9:g}; waiting")
        self.chain = chain
        self.needed = needed
        self.cap = cap


class JournalError(LocalError):
    """The journal cannot be used. path: where it is."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"journal {path}: {reason}")
        self.path = path
        self.reason = reason


class SignerError(LocalError):
    """The relayer's key cannot be used. The sentence never holds a secret."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"signer {source}: {reason}")
        self.source = source
        self.reason = reason


class ExposedSecret(SignerError):
    """A file with a secret that others may read."""


class NodeRefuses(PeerError):
    """The node did not answer as it should. code: gRPC's word, such as NOT_FOUND. cause: the node's, or empty."""

    def __init__(self, address: str, code: str, reason: str, cause: str = "") -> None:
        super().__init__(f"node {address}: {code}: {reason}")
        self.address = address
        self.code = code
        self.cause = cause
