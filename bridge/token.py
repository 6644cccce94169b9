"""The MusicNFT of one chain, read through its endpoints: what it is bound to, and what it has of a token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from bridge.artifacts import calldata, checksummed, code_differs, decoded, named_error
from bridge.endpoints import Endpoints, data, number
from bridge.errors import ContractRefuses, RpcError, WrongContract
from ledger.derived import MintState, StatusLeaf
from ledger.mint_terms import MintTerms

NAME: Final = "MusicNFT"
NOBODY: Final = "0x" + "00" * 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenState:
    """What the contract has of one mint leaf at one block."""

    owner: bytes | None
    """None: not minted."""
    size: int
    """Leaves of the checkpoint that it was minted against; 0: not minted."""
    seq: int
    """Of the last STATUS leaf that was shown; 0: none."""
    state: MintState
    status_size: int

    @property
    def is_minted(self) -> bool:
        return self.size > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an entry is in the log, and the proof of it, as the contracts take it."""

    size: int
    index: int
    path: tuple[bytes, ...]

    @property
    def abi(self) -> tuple[int, int, list[bytes]]:
        return (self.size, self.index, list(self.path))


class TokenContract:
    """Raises in every method what `Endpoints` raises."""

    def __init__(self, endpoints: Endpoints, address: bytes) -> None:
        self.endpoints, self.address = endpoints, address
        self._to = "0x" + address.hex()

    def check_code(self, block: int) -> None:
        """That it is the artifact's code; before that, nothing it answers means anything. Raises: WrongContract."""
        code = self.endpoints.agree("eth_getCode", self._to, hex(block), form=data)
        if found := code_differs(NAME, code):
            self._wrong("code", f"that of contracts/artifacts/{NAME}", found)

    def check(self, bridge: bytes, consortium: bytes, block: int) -> None:
        """That it is the artifact's code over this bridge and consortium. Raises: WrongContract."""
        self.check_code(block)
        over = bytes.fromhex(str(self._read("bridge", block))[2:])
        if over != bridge:
            self._wrong("bridge", f"0x{bridge.hex()}", f"0x{over.hex()}")
        genesis = bytes(self._read("genesis", block))
        if genesis != consortium:
            self._wrong("consortium", consortium.hex(), genesis.hex())

    def bridge(self, block: int) -> bytes:
        """Address of the CheckpointBridge that it asks."""
        return bytes.fromhex(str(self._read("bridge", block))[2:])

    def state(self, token: int, block: int) -> TokenState:
        """By a quorum."""
        _, _, size = self._read("tokens", block, token)
        seq, state, status_size, _, _ = self._read("statusOf", block, token)
        owner = bytes.fromhex(str(self._read("ownerOf", block, token))[2:]) if size else None
        return TokenState(owner=owner, size=size, seq=seq, state=MintState(state), status_size=status_size)

    def uri(self, token: int, block: int) -> str:
        """tokenURI: a data: URL with JSON."""
        return str(self._read("tokenURI", block, token))

    def simulate(self, sender: bytes, call: bytes, block: int) -> None:
        """Runs the call without sending it, by a quorum. Raises: ContractRefuses with the contract's own error."""
        try:
            self.endpoints.agree("eth_call", self._request(sender, call), hex(block), form=data)
        except RpcError as error:
            raise self._refusal(error) from error

    def estimate(self, sender: bytes, call: bytes) -> int:
        """Gas that the call takes now. Raises: ContractRefuses."""
        try:
            return int(self.endpoints.ask("eth_estimateGas", self._request(sender, call), form=number))
        except RpcError as error:
            raise self._refusal(error) from error

    @staticmethod
    def mint_call(terms: MintTerms, place: Place) -> bytes:
        return calldata(NAME, "mint", terms_abi(terms), place.abi)

    @staticmethod
    def status_call(status: StatusLeaf, place: Place) -> bytes:
        values = (status.mint, status.seq, int(status.state), status.cause)
        return calldata(NAME, "showStatus", values, place.abi)

    def _read(self, method: str, block: int, *arguments: Any) -> Any:
        call = {"to": self._to, "data": "0x" + calldata(NAME, method, *arguments).hex()}
        return self.endpoints.agree("eth_call", call, hex(block), form=lambda value: decoded(NAME, method, data(value)))

    def _request(self, sender: bytes, call: bytes) -> dict[str, str]:
        return {"from": "0x" + sender.hex(), "to": self._to, "data": "0x" + call.hex()}

    def _refusal(self, error: RpcError) -> ContractRefuses:
        return ContractRefuses(self.endpoints.chain, named_error(error.data) if error.data else error.message)

    def _wrong(self, field: str, expected: str, got: str) -> None:
        raise WrongContract(self.endpoints.chain, self._to, field, expected, got)


def terms_abi(terms: MintTerms) -> tuple[Any, ...]:
    """As the contracts' MintTermsV1 for web3's encoder."""
    return (
        terms.chain_id, checksummed(terms.nft), checksummed(terms.minter), terms.claim, terms.position, terms.edition,
        terms.editions, terms.title, [(checksummed(payee.account), payee.share) for payee in terms.payees],
        checksummed(terms.curator), checksummed(terms.platform), terms.creator_share, terms.curator_share,
        terms.collector_share, terms.platform_share, checksummed(terms.sale_asset), terms.sale_floor,
        checksummed(terms.royalty_to), terms.royalty, terms.resale_share, int(terms.resale_basis),
        terms.co_creation_share,
    )  # fmt: skip
