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
