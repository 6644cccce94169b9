"""A chain inside this process: py-evm through eth-tester, for trials and demonstrations. Nothing is kept when it ends.

It answers JSON-RPC as an endpoint does, so that everything that talks to public chains talks to it too. Every
transaction is a block of its own, at once, and final. Rules are Cancun's, which the contracts are compiled for. Not
shared between threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from bridge.endpoints import Endpoints
from bridge.errors import RpcError
from bridge.imports import quietly
from ledger.chain_block import parse_receipt

if TYPE_CHECKING:
    from bridge.jsonrpc import Endpoint

CHAIN_ID: Final = 32769
"""Zilliqa's, which a chain for trials stands for."""
GAS_MAX: Final = 2**24
"""Of a call; Ethereum's cap on a transaction."""
ETHER: Final = 10**18
FUNDED: Final = 1_000 * ETHER
GWEI: Final = 10**9
_SPARE: Final = 10**30
"""Whoever calls without a transaction can pay for it, as on real nodes."""


class EmbeddedChain:
    """One chain. Raises in `ask`: RpcError, as a node answers."""

    label = "embedded"

    def __init__(self, chain_id: int = CHAIN_ID, *, funded: Sequence[bytes] = ()) -> None:
        """funded: addresses that have coins from the start, 20 bytes each."""
        # All three raise the process' recursion limit; `quietly` puts it back.
        tester = quietly("eth_tester.backends.pyevm.main")
        rules = quietly("eth.vm.forks.cancun").CancunVM
        state = {address: {"balance": FUNDED, "nonce": 0, "code": b"", "storage": {}} for address in funded}
        backend = tester.PyEVMBackend(vm_configuration=((0, rules),), genesis_state=state or None)
        self._chain = backend.chain
        self._backend = backend
        # eth-tester's own id would fail every check of the chain in a leaf. The class is this chain's alone.
        type(self._chain).chain_id = chain_id
        self.chain_id = chain_id
        self._spoof = quietly("eth.vm.spoof").SpoofTransaction
        self._errors = quietly("eth.exceptions")
        self._refusals = (
            self._errors.PyEVMError,
            quietly("eth_utils").ValidationError,
            quietly("rlp.exceptions").RLPException,
        )
        self._places: dict[bytes, tuple[int, int]] = {}
        """Hash of a transaction -> number of its block, position."""
        self._methods: Mapping[str, Callable[..., Any]] = {
            "eth_chainId": lambda: hex(self.chain_id),
            "eth_blockNumber": lambda: hex(self._head()),
            "eth_gasPrice": lambda: hex(2 * GWEI),
            "eth_maxPriorityFeePerGas": lambda: hex(GWEI),
            "eth_getBlockByNumber": lambda at, _full: self._block(self._number(at)),
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getBlockReceipts": lambda at: self._receipts(self._number(at)),
            "eth_getTransactionReceipt": self._receipt,
            "eth_getTransactionByHash": self._transaction,
            "eth_getTransactionCount": lambda who, at="latest": hex(self._state(at).get_nonce(_bytes(who))),
            "eth_getBalance": lambda who, at="latest": hex(self._state(at).get_balance(_bytes(who))),
            "eth_getCode": lambda who, at="latest": _hex(self._state(at).get_code(_bytes(who))),
            "eth_call": lambda call, at="latest": _hex(self._run(call, at).output),
            "eth_estimateGas": self._estimate,
            "eth_sendRawTransaction": self._send,
            "eth_getLogs": self._logs,
        }

    def ask(self, method: str, params: Sequence[Any]) -> Any:
        """As `bridge.jsonrpc.Endpoint.ask`. Raises: RpcError."""
        answer = self._methods.get(method)
        if answer is None:
            raise RpcError(self.label, -32601, f"the method {method} does not exist")
        try:
            return answer(*params)
        except self._errors.HeaderNotFound:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise RpcError(self.label, -32602, f"{method}: {error}") from error

    def endpoints(self, name: str) -> Endpoints:
        """What relaying and minting talk to; this chain is the only endpoint."""
        only = cast("Endpoint", self)  # it answers as one does, by way of nothing
        return Endpoints(name, self.chain_id, [only], rate=1e6)

    def close(self) -> None:
        """Nothing to close; what it knew is gone with the object."""

    # ---- blocks ------------------------------------------------------------------------------------------------------

    def _head(self) -> int:
        return int(self._chain.get_block().number) - 1  # the newest is the one that is being made

    def _number(self, at: str) -> int:
        if at in ("latest", "pending", "safe", "finalized"):
            return self._head()
        return 0 if at == "earliest" else int(at, 16)

    def _get(self, number: int) -> Any:
        if number > self._head():
            raise self._errors.HeaderNotFound(f"no block {number}")
        return self._chain.get_canonical_block_by_number(number)

    def _block(self, number: int) -> dict[str, Any]:
        block = self._get(number)
        header = block.header
        return {
            "hash": _hex(header.hash),
            "parentHash": _hex(header.parent_hash),
            "sha3Uncles": _hex(header.uncles_hash),
            "miner": _hex(header.coinbase),
            "stateRoot": _hex(header.state_root),
            "transactionsRoot": _hex(header.transaction_root),
            "receiptsRoot": _hex(header.receipt_root),
            "logsBloom": _hex(header.bloom.to_bytes(256, "big")),
            "difficulty": hex(header.difficulty),
            "number": hex(header.block_number),
            "gasLimit": hex(header.gas_limit),
            "gasUsed": hex(header.gas_used),
            "timestamp": hex(header.timestamp),
            "extraData": _hex(header.extra_data),
            "mixHash": _hex(header.mix_hash),
            "nonce": _hex(header.nonce),
            "baseFeePerGas": hex(header.base_fee_per_gas),
            "withdrawalsRoot": _hex(header.withdrawals_root),
            "blobGasUsed": hex(header.blob_gas_used),
            "excessBlobGas": hex(header.excess_blob_gas),
            "parentBeaconBlockRoot": _hex(header.parent_beacon_block_root),
            "transactions": [_hex(each.hash) for each in block.transactions],
        }

    def _block_by_hash(self, hash_: str, _full: bool = False) -> dict[str, Any] | None:
        wanted = _bytes(hash_)
        header = self._chain.chaindb.get_block_header_by_hash(wanted)
        found = self._block(header.block_number)
        return found if found["hash"] == _hex(wanted) else None

    # ---- transactions ------------------------------------------------------------------------------------------------

    def _send(self, raw: str) -> str:
        try:
            transaction = self._chain.get_transaction_builder().decode(_bytes(raw))
            self._tick()
            self._chain.apply_transaction(transaction)
        except self._refusals as error:
            raise RpcError(self.label, -32000, f"{type(error).__name__}: {error}"[:200]) from error
        self._backend.mine_blocks()
        number = self._head()
        for position, each in enumerate(self._get(number).transactions):
            self._places[each.hash] = (number, position)
        return _hex(transaction.hash)

    def _tick(self) -> None:
        """The next block's time is now, or a second after the last block's."""
        header = self._chain.header
        self._chain.header = header.copy(timestamp=max(header.timestamp, int(time.time())))

    def _receipts(self, number: int) -> list[dict[str, Any]]:
        block = self._get(number)
        found: list[dict[str, Any]] = []
        gas, index = 0, 0
        for position, (transaction, made) in enumerate(
            zip(block.transactions, block.get_receipts(self._chain.chaindb), strict=True)
        ):
            receipt = parse_receipt(made.encode())
            place = {
                "blockHash": _hex(block.hash),
                "blockNumber": hex(number),
                "transactionHash": _hex(transaction.hash),
                "transactionIndex": hex(position),
            }
            logs = []
            for log in receipt.logs:
                told = {"address": _hex(log.address), "topics": [*map(_hex, log.topics)], "data": _hex(log.data)}
                logs.append({**told, **place, "logIndex": hex(index), "removed": False})
                index += 1
            base, tip = block.header.base_fee_per_gas, transaction.max_priority_fee_per_gas
            found.append(
                {
                    **place,
                    "type": hex(receipt.type),
                    "status": hex(receipt.succeeded),
                    "cumulativeGasUsed": hex(receipt.cumulative_gas),
                    "gasUsed": hex(receipt.cumulative_gas - gas),
                    "effectiveGasPrice": hex(min(transaction.max_fee_per_gas, base + tip)),
                    "from": _hex(transaction.sender),
                    "to": _hex(transaction.to) if transaction.to else None,
                    "contractAddress": None if transaction.to else _hex(self._created(transaction)),
                    "logsBloom": _hex(receipt.bloom),
                    "logs": logs,
                }
            )
            gas = receipt.cumulative_gas
        return found

    def _created(self, transaction: Any) -> bytes:
        return bytes(quietly("eth._utils.address").generate_contract_address(transaction.sender, transaction.nonce))

    def _receipt(self, hash_: str) -> dict[str, Any] | None:
        place = self._places.get(_bytes(hash_))
        return None if place is None else self._receipts(place[0])[place[1]]

    def _transaction(self, hash_: str) -> dict[str, Any] | None:
        place = self._places.get(_bytes(hash_))
        if place is None:
            return None
        block = self._get(place[0])
        found = block.transactions[place[1]]
        return {
            "hash": _hex(found.hash),
            "blockHash": _hex(block.hash),
            "blockNumber": hex(place[0]),
            "transactionIndex": hex(place[1]),
            "from": _hex(found.sender),
            "to": _hex(found.to) if found.to else None,
            "nonce": hex(found.nonce),
            "value": hex(found.value),
            "gas": hex(found.gas),
            "input": _hex(found.data),
        }

    def _logs(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        first, last = self._number(query.get("fromBlock", "latest")), self._number(query.get("toBlock", "latest"))
        return [
            log
            for number in range(first, min(last, self._head()) + 1)
            for receipt in self._receipts(number)
            for log in receipt["logs"]
            if _matches(log, query)
        ]

    # ---- calls -------------------------------------------------------------------------------------------------------

    def _state(self, at: str) -> Any:
        return self._chain.get_vm(at_header=self._get(self._number(at)).header).state

    def _run(self, call: Mapping[str, Any], at: str = "latest") -> Any:
        """What the call does to a state that is thrown away. Raises: RpcError where the contract undoes it."""
        state = self._state(at)
        sender = _bytes(call.get("from", "0x" + "00" * 20))
        state.set_balance(sender, state.get_balance(sender) + _SPARE)
        fee = self._get(self._head()).header.base_fee_per_gas + GWEI
        unsigned = self._chain.get_transaction_builder().new_unsigned_dynamic_fee_transaction(
            chain_id=self.chain_id,
            nonce=state.get_nonce(sender),
            max_priority_fee_per_gas=0,
            max_fee_per_gas=fee,
            gas=min(GAS_MAX, int(call.get("gas", hex(GAS_MAX)), 16)),
            to=_bytes(call["to"]) if call.get("to") else b"",
            value=int(call.get("value", "0x0"), 16),
            data=_bytes(call.get("data") or call.get("input") or "0x"),
            access_list=[],
        )
        computation = state.apply_transaction(self._spoof(unsigned, from_=sender))
        if computation.is_error:
            said = bytes(computation.output)
            raise RpcError(self.label, 3, f"execution reverted: {type(computation.error).__name__}", said)
        return computation

    def _estimate(self, call: Mapping[str, Any], at: str = "latest") -> str:
        """An eighth more than it takes: what is given back at the end is needed before."""
        return hex((GAS_MAX - int(self._run({**call, "gas": hex(GAS_MAX)}, at).get_gas_remaining())) * 9 // 8)


def _matches(log: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    address = query.get("address")
    wanted = query.get("topics", [])
    if address is not None and log["address"] != address.lower():
        return False
    if len(wanted) > len(log["topics"]):
        return False
    return all(
        want is None or found in ([each.lower() for each in want] if isinstance(want, list) else [want.lower()])
        for want, found in zip(wanted, log["topics"], strict=False)
    )


def _hex(data: bytes) -> str:
    return f"0x{bytes(data).hex()}"


def _bytes(text: str) -> bytes:
    if not isinstance(text, str) or not text.startswith("0x"):
        raise ValueError(f"{text!r:.80} is not 0x and hexadecimal digits")
    return bytes.fromhex(text[2:])
