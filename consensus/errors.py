"""The roots of every error in Stretto: who is to blame is in the base class, what happened is in the fields."""


class StrettoError(Exception):
    """Root of all errors raised by Stretto's own code."""


class PeerError(StrettoError):
    """A peer misbehaved: drop what it sent and score it down."""


class RequestError(StrettoError):
    """A caller asked for something it must mend first."""


class LocalError(StrettoError):
    """This machine has a problem that its operator must mend."""


class MalformedMessage(PeerError):
    """A message that no correct peer sends.

    message: kind of message. field: where in it. expected: what a correct one holds there.
    """

    def __init__(self, message: str, field: str, expected: str) -> None:
        super().__init__(f"malformed {message}: {field}: expected {expected}")
        self.message = message
        self.field = field
        self.expected = expected


class InvalidSignature(PeerError):
    """A signature that does not verify under the key it names. signer: whose it claims to be. over: what was signed."""

    def __init__(self, signer: str, over: str) -> None:
        super().__init__(f"signature of {signer} over {over} does not verify")
        self.signer = signer
        self.over = over


class UnknownValidator(PeerError):
    """A message names a validator that the committee does not have. index: 0-based. size: of the committee."""

    def __init__(self, index: int, size: int) -> None:
        super().__init__(f"validator {index} is not in the committee of {size}")
        self.index = index
        self.size = size


class WrongEpoch(PeerError):
    """A message of another epoch: nothing in it counts here. message: its kind."""

    def __init__(self, message: str, expected: int, got: int) -> None:
        super().__init__(f"{message} of epoch {got}, this engine runs epoch {expected}")
        self.message = message
        self.expected = expected
        self.got = got


class WrongConsortium(PeerError):
    """A block of another consortium: nothing in it counts here. Digests are 32 bytes."""

    def __init__(self, expected: bytes, got: bytes) -> None:
        super().__init__(f"block of consortium {got.hex()}, expected {expected.hex()}")
        self.expected = expected
        self.got = got


class WrongLeader(PeerError):
    """A proposal by a validator that does not lead the view."""

    def __init__(self, view: int, expected: int, got: int) -> None:
        super().__init__(f"proposal for view {view} by validator {got}, its leader is validator {expected}")
        self.view = view
        self.expected = expected
        self.got = got


class TooFewSigners(PeerError):
    """A certificate with fewer than n - f signers."""

    def __init__(self, got: int, quorum: int) -> None:
        super().__init__(f"certificate with {got} signers, a quorum is {quorum}")
        self.got = got
        self.quorum = quorum


class InvalidBlock(PeerError):
    """A proposed or fetched block that breaks a rule. field: where. reason: what it holds and what was expected."""

    def __init__(self, view: int, field: str, reason: str) -> None:
        super().__init__(f"block of view {view}: {field}: {reason}")
        self.view = view
        self.field = field
        self.reason = reason


class ConflictingCertificates(PeerError):
    """Two valid certificates that exclude each other: more than f validators are faulty, and agreement is lost.

    The engine keeps to the one it had. Operators must compare the evidence (`Misbehaviour`) before going on.
    """

    def __init__(self, view: int, had: str, got: str) -> None:
        super().__init__(f"view {view}: certificate for {got} excludes {had}, which this node holds; stop and compare")
        self.view = view
        self.had = had
        self.got = got


class ForeignOwnVote(PeerError):
    """A valid vote in this validator's name that this node never cast: a second process holds its key, or the voting
    state was rolled back. Until the operator has mended that, this node stops voting and recovers."""

    def __init__(self, view: int, kind: str) -> None:
        super().__init__(f"a {kind} vote for view {view} under our own key that this node never cast; look for a twin")
        self.view = view
        self.kind = kind


class RestoredStateInvalid(LocalError):
    """What the store gave the engine at start contradicts itself. item: what. reason: how; restore the voting state."""

    def __init__(self, item: str, reason: str) -> None:
        super().__init__(f"restored {item}: {reason}; treat the voting state as untrusted")
        self.item = item
        self.reason = reason
