"""Checks the files beside it with Python's standard library and the openssl program; nothing of Stretto is needed.

Usage: python3 verify.py [SHA-256 of the genesis file you trust]

Each signed message, key and signature is written to the folder signed/, so that every openssl line can be run by hand.
It reads only what it must; `stretto evidence verify` is stricter. Every line it prints is one thing that holds.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
SIGNED = HERE / "signed"
BLOCK = struct.Struct(">16s32sQQQQ32sQH32sH")  # tag, consortium, epoch, view, height, parent view, parent, time, …
VOTE = struct.Struct(">BQQQ32sH")  # kind, epoch, view, height, block, how many signatures follow
ED25519_KEY = bytes.fromhex("302a300506032b6570032100")  # what RFC 8410 puts before the 32 bytes of a key


def refuse(reason: str) -> NoReturn:
    sys.exit(f"REFUSED: {reason}")


def holds(condition: bool, sentence: str) -> None:
    if not condition:
        refuse(f"not so: {sentence}")
    print(f"ok  {sentence}")


def read(name: str) -> bytes:
    return (HERE / name).read_bytes()


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def is_signed(name: str, key: bytes, message: bytes, signature: bytes) -> bool:
    """Asks openssl whether `signature` over `message` is by the Ed25519 key `key`."""
    pem = base64.b64encode(ED25519_KEY + key).decode()
    files = [SIGNED / f"{name}.{kind}" for kind in ("pem", "msg", "sig")]
    files[0].write_text(f"-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----\n")
    files[1].write_bytes(message)
    files[2].write_bytes(signature)
    options = ("-inkey", "-in", "-sigfile")
    named = [word for option, file in zip(options, files) for word in (option, str(file))]  # noqa: B905
    line = ["openssl", "pkeyutl", "-verify", "-pubin", "-rawin", *named]
    return subprocess.run(line, check=False, capture_output=True).returncode == 0


def root_of(entry: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    """Root that an inclusion path leads to (RFC 9162, section 2.1.3.2), or None where its length is wrong."""
    last, node = size - 1, sha256(b"\x00" + entry)
    for sibling in path:
        if last == 0:
            return None
        if index & 1 or index == last:
            node = sha256(b"\x01" + sibling + node)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = sha256(b"\x01" + node + sibling)
        index, last = index >> 1, last >> 1
    return node if last == 0 else None


def byte_string(data: bytes, at: int) -> tuple[bytes, bytes, int]:
    """CBOR byte string at `at`: its content, its whole encoding, and where it ends."""
    head, start = data[at] & 31, at + 1
    if head >= 24:
        width = 1 << head - 24
        head, start = int.from_bytes(data[start : start + width], "big"), start + width
    return data[start : start + head], data[at : start + head], start + head


def cbor(data: bytes, at: int = 0) -> tuple[Any, int]:
    """Value of deterministic CBOR at `at`, and where it ends: integers, strings, arrays, maps, true and false."""
    major, value, at = data[at] >> 5, data[at] & 31, at + 1
    if value >= 24 and major < 7:
        width = 1 << value - 24
        value, at = int.from_bytes(data[at : at + width], "big"), at + width
    if major in (2, 3):
        text = data[at : at + value]
        return (text if major == 2 else text.decode()), at + value
    if major in (4, 5):
        found = []
        for _ in range(value * (major - 3)):
            item, at = cbor(data, at)
            found.append(item)
        return (found if major == 4 else dict(zip(found[::2], found[1::2]))), at  # noqa: B905
    return (value == 21 if major == 7 else value), at


Member = dict[str, Any]
Committee = tuple[dict[str, Member], list[Member], int]


def committee_of(listed: list[Member]) -> Committee:
    """Members by id, validators in their order, and how many of these are a quorum."""
    validators = [member for member in listed if member["validator"]]
    return {member["id"]: member for member in listed}, validators, len(validators) - (len(validators) - 1) // 3


def committees_of(genesis: dict[str, Any], genesis_digest: bytes) -> list[Committee]:
    """Of epoch 0, by the genesis, and of every later one, by the word of a quorum of the one before."""
    found = [committee_of(genesis["members"])]
    if not (HERE / "epochs.cbor").exists():
        return found
    for epoch, encoded in enumerate(cbor(read("epochs.cbor"))[0]["proofs"], 1):
        proof = cbor(encoded)[0]
        roster = cbor(proof["roster"])[0]
        blocks = [proof["boundary"], *proof["headers"]]
        head = BLOCK.unpack_from(blocks[0])
        holds(head[9] == sha256(proof["roster"]), f"block {head[4]} names the members of epoch {epoch}")
        holds(roster["epoch"] == epoch and roster["consortium"] == genesis_digest, "they are of this consortium")
        finalized(blocks, proof["finalization"], epoch - 1, genesis_digest, committee=found[-1], name=f"epoch-{epoch}")
        for member in roster["members"]:
            member["keys"] = {purpose: key.hex() for purpose, key in member["keys"].items()}
        found.append(committee_of(roster["members"]))
    return found


def finalized(
    blocks: list[bytes], certificate: bytes, epoch: int, genesis_digest: bytes, *, committee: Committee, name: str
) -> None:
    """That the blocks follow each other and a quorum of the epoch's committee made the last one final."""
    _, validators, quorum = committee
    heads = [BLOCK.unpack_from(block) for block in blocks]
    linked = all(head[6] == sha256(block) for head, block in zip(heads[1:], blocks[:-1]))  # noqa: B905
    holds(
        linked and all(head[1] == genesis_digest and head[2] == epoch for head in heads),
        f"{len(blocks)} block headers of epoch {epoch} are linked",
    )
    kind, voted, view, height, block, votes = VOTE.unpack_from(certificate)
    holds(kind == 3 and voted == epoch and block == sha256(blocks[-1]), f"the votes are to finalize block {height}")
    message = b"stretto/vote/v1" + genesis_digest + struct.pack(">QBQQ32s", epoch, kind, view, height, block)
    names = set()
    for i in range(votes):
        voter, signature = struct.unpack_from(">H64s", certificate, VOTE.size + 66 * i)
        member = validators[voter]
        if is_signed(f"{name}-{member['id']}", bytes.fromhex(member["keys"]["consensus"]), message, signature):
            names.add(member["name"])
    holds(len(names) >= quorum, f"finalized by {', '.join(sorted(names))}: {len(names)}, needed {quorum}")


def check_manifest(members: dict[str, Member]) -> None:
    manifest = json.loads(read("manifest.json"))
    wrong = [name for name, digest in manifest["sha256"].items() if sha256(read(name)).hex() != digest]
    holds(not wrong, f"every file has the SHA-256 that the manifest says{': ' + ', '.join(wrong) if wrong else ''}")
    anchors = {path.name for path in HERE.glob("anchor-*.json")}  # they prove themselves, see check_anchors
    covered = {"manifest.json", "manifest.sig", *manifest["sha256"], *anchors}
    for path in sorted(HERE.iterdir()):
        if path.is_file() and path.name not in covered:
            print(f"--  not part of this evidence, disregard it: {path.name}")
    exporter = members[manifest["exporter"]]
    key = bytes.fromhex(exporter["keys"]["export"])
    holds(
        is_signed("manifest", key, read("manifest.json"), read("manifest.sig")),
        f"the manifest is signed by {exporter['name']}, exported {manifest['exported']}",
    )


def check_statement(members: dict[str, Member], genesis_digest: bytes) -> bytes:
    """Signature of a COSE_Sign1: 18([protected, {}, content, signature]), RFC 9052 section 4.4."""
    data = read("statement.cose")
    protected, protected_encoded, at = byte_string(data, 2)
    holds(data[:2] == b"\xd2\x84" and data[at : at + 1] == b"\xa0", "the statement is a COSE_Sign1")
    _content, content_encoded, at = byte_string(data, at + 1)
    signature, _, end = byte_string(data, at)
    holds(end == len(data) and genesis_digest in protected, "it was signed for this consortium")
    message = b"\x84\x6aSignature1" + protected_encoded + b"\x40" + content_encoded
    issuer = json.loads(read("claim.json"))["statement"]["issuer"]
    holds(issuer.encode() in protected, f"its issuer is {issuer}")
    key = bytes.fromhex(members[issuer]["keys"]["statement"])
    holds(is_signed("statement", key, message, signature), f"it is signed by {members[issuer]['name']}")
    return sha256(data)


def check_catalogue() -> None:
    if not (HERE / "claim.cbor").exists():
        return
    lines = read("catalogue-proof.txt").decode().split("\n")[:-1]
    index, count = int(lines[1].split()[1]), int(lines[2].split()[1])
    root = root_of(read("claim.cbor"), index, count, [base64.b64decode(line) for line in lines[3:]])
    holds(root is not None and root in read("statement.cose"), f"the claim is number {index} of the {count} it signs")


def check_log(entry: bytes, genesis: dict[str, Any], committees: list[Committee]) -> tuple[int, int, bytes]:
    """Index of the entry, size and root of the log.

    committees: from the block's epoch on; the first of them that has a quorum behind the checkpoint counts.
    """
    head, note = read("proof.tlog-proof").decode().split("\n\n", 1)
    holds(note.encode() == read("checkpoint"), "the proof is under the checkpoint beside it")
    text, lines = note.rsplit("\n\n", 1)
    text += "\n"
    origin, size, root = text.split("\n")[:3]
    holds(origin == genesis["origin"], f"the checkpoint is of the log {origin}")
    signed = {
        (name, base64.b64decode(line)[:4]): base64.b64decode(line)[4:]
        for _, name, line in map(str.split, lines.splitlines())
    }
    for _, validators, quorum in committees:
        cosigners = []
        for member in validators:
            name, key = f"{origin}/{member['id']}", bytes.fromhex(member["keys"]["cosign"])
            signature = signed.get((name, sha256(f"{name}\n".encode() + b"\x04" + key)[:4]))
            if signature is not None:
                (time,) = struct.unpack(">Q", signature[:8])
                message = f"cosignature/v1\ntime {time}\n{text}".encode()
                if is_signed(f"cosignature-{member['id']}", key, message, signature[8:]):
                    cosigners.append(member["name"])
        if len(cosigners) >= quorum:
            break
    holds(len(cosigners) >= quorum, f"cosigned by {', '.join(cosigners)}: {len(cosigners)}, needed {quorum}")
    index, *path = head.split("\n")[1:]
    found = root_of(entry, int(index.split()[1]), int(size), [base64.b64decode(line) for line in path])
    holds(found == base64.b64decode(root), f"the statement is entry {index.split()[1]} of the {size} in that log")
    return int(index.split()[1]), int(size), base64.b64decode(root)


def block_epoch() -> int:
    return int(BLOCK.unpack_from(read("block-000.bin"))[2])


def check_block(entry: bytes, genesis_digest: bytes, committee: Committee) -> None:
    """Layouts: consensus/types.py and ledger/payload.py of Stretto; all integers big-endian."""
    header = read("payload-header.bin")
    lines = read("payload-proof.txt").decode().split("\n")[:-1]
    index, count = int(lines[1].split()[1]), int(lines[2].split()[1])
    found = root_of(entry, index, count, [base64.b64decode(line) for line in lines[3:]])
    holds(
        header[18:50] == genesis_digest and found == header[-36:-4], f"it is statement {index} of {count} in a payload"
    )
    blocks = [read(path.name) for path in sorted(HERE.glob("block-*.bin"))]
    head, body = BLOCK.unpack_from(blocks[0]), blocks[0][BLOCK.size :]
    ordered = [body[i : i + 32] for i in range(0, len(body), 32)]
    holds(sha256(header) in ordered, f"block {head[4]} orders that payload, block time {head[7]} ms since 1970")
    finalized(blocks, read("finalization.bin"), head[2], genesis_digest, committee=committee, name="finalize")


def keccak256(data: bytes) -> bytes:
    """Ethereum's hash: Keccak with the padding of 2011, which hashlib does not have. Slow, and enough for this."""

    def turn(lane: int, by: int) -> int:
        return (lane << by | lane >> 64 - by) & 2**64 - 1

    lanes = [0] * 25
    data += b"\x01" + bytes((-len(data) - 1) % 136)
    data = data[:-1] + bytes([data[-1] | 0x80])
    for start in range(0, len(data), 136):
        for i, (lane,) in enumerate(struct.iter_unpack("<Q", data[start : start + 136])):
            lanes[i] ^= lane
        step = 1
        for _ in range(24):
            columns = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
            lanes = [lanes[i] ^ columns[i % 5 - 1] ^ turn(columns[(i + 1) % 5], 1) for i in range(25)]
            x, y, moved = 1, 0, lanes[1]
            for t in range(1, 25):
                x, y = y, (2 * x + 3 * y) % 5
                moved, lanes[x + 5 * y] = lanes[x + 5 * y], turn(moved, t * (t + 1) // 2 % 64)
            rows = [lanes[i : i + 5] for i in range(0, 25, 5)]
            lanes = [row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5]) for row in rows for x in range(5)]
            for bit in range(7):
                step = (step << 1 ^ (step >> 7) * 0x71) % 256
                lanes[0] ^= (step >> 1 & 1) << (1 << bit) - 1
    return struct.pack("<4Q", *lanes[:4])


def rlp(data: bytes, at: int = 0) -> tuple[Any, int]:
    """Item of Ethereum's RLP at `at`, bytes or a list of items, and where it ends."""
    first = data[at]
    if first < 0x80:
        return data[at : at + 1], at + 1
    length, at = first - (0x80 if first < 0xC0 else 0xC0), at + 1
    if length > 55:
        width = length - 55
        length, at = int.from_bytes(data[at : at + width], "big"), at + width
    if first < 0xC0:
        return data[at : at + length], at + length
    items, end = [], at + length
    while at < end:
        item, at = rlp(data, at)
        items.append(item)
    return items, end


def receipt_of(index: int, root: bytes, nodes: list[bytes]) -> bytes:
    """Number `index` of the receipts that a block's header names by `root`: down the trie, a hash at a time."""
    number = index.to_bytes((index.bit_length() + 7) // 8, "big")
    key = (number if 0 < index < 128 else bytes([0x80 + len(number)]) + number).hex()
    for node in nodes:
        holds(keccak256(node) == root, f"the trie's node {root.hex()[:16]}… is the one named above it")
        parts, _ = rlp(node)
        if len(parts) == 17:
            root, key = parts[int(key[0], 16)], key[1:]
            continue
        path = parts[0].hex()
        path, is_leaf = path[1 if int(path[0], 16) & 1 else 2 :], int(path[0], 16) >= 2
        holds(key.startswith(path) and is_leaf == (key == path), f"it leads to receipt {index}")
        root, key = parts[1], key[len(path) :]
    return root


def agree(size1: int, root1: bytes, size2: int, root2: bytes, path: list[bytes]) -> bool:
    """Whether a consistency proof shows the smaller tree to be the beginning of the larger (RFC 9162, 2.1.4.2)."""
    if size1 == size2:
        return root1 == root2 and not path
    if size1 & size1 - 1 == 0:
        path = [root1, *path]
    first, last, old, new = size1 - 1, size2 - 1, path[0], path[0]
    while first & 1:
        first, last = first >> 1, last >> 1
    for sibling in path[1:]:
        if first & 1 or first == last:
            old, new = sha256(b"\x01" + sibling + old), sha256(b"\x01" + sibling + new)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            new = sha256(b"\x01" + new + sibling)
        first, last = first >> 1, last >> 1
    return (old, new, last) == (root1, root2, 0)


def check_anchors(index: int, size: int, root: bytes) -> None:
    """Of each public chain: header, receipt, event, and that the log recorded there is this one."""
    topic = keccak256(b"CheckpointAccepted(uint64,bytes32,uint64)")
    for path in sorted(HERE.glob("anchor-*.json")):
        anchor = json.loads(path.read_text())
        holds(path.name == f"anchor-{anchor['chain']}.json", f"{path.name} is about the chain of its name")

        def octets(text: str) -> bytes:
            return bytes.fromhex(text[2:])

        fields, _ = rlp(octets(anchor["header"]))
        holds(keccak256(octets(anchor["header"])) == octets(anchor["block"]), "the header is of its block")
        receipt = receipt_of(anchor["transaction"], fields[5], list(map(octets, anchor["proof"])))
        (status, _, _, logs), _ = rlp(receipt, int(receipt[0] < 0x80))
        address, topics, data = logs[anchor["log"]]
        there = (int.from_bytes(topics[1], "big"), data[:32])
        holds(
            status == b"\x01" and address == octets(anchor["contract"]) and topics[0] == topic and len(data) == 64
            and there == (anchor["size"], octets(anchor["root"])),
            f"contract {anchor['contract']} recorded a root at {anchor['size']} entries",
        )  # fmt: skip
        trees = sorted([there, (size, root)], key=lambda tree: tree[0])
        proof = list(map(octets, anchor["consistency"]))
        holds(
            index < there[0] and agree(*trees[0], *trees[1], proof), "it is this log, the statement among the entries"
        )
        number, seconds = (int.from_bytes(fields[i], "big") for i in (8, 11))
        print(f"??  not checked: that chain {anchor['chain']} has block {number}, {anchor['block']}, {seconds} s")
        print("    after 1970. Look it up; only then does this anchor show anything.")


def main() -> None:
    genesis_digest = sha256(read("genesis.json"))
    if len(sys.argv) > 2 or (len(sys.argv) == 2 and not re.fullmatch("[0-9a-f]{64}", sys.argv[1])):
        sys.exit("usage: python3 verify.py [SHA-256 of the genesis file you trust]")
    if len(sys.argv) == 2:
        holds(genesis_digest.hex() == sys.argv[1], "the genesis is the one you trust")
    SIGNED.mkdir(exist_ok=True)
    genesis = json.loads(read("genesis.json"))
    committees = committees_of(genesis, genesis_digest)
    epoch = block_epoch()
    holds(epoch < len(committees), f"the validators of epoch {epoch}, whose block it is, are known")
    check_manifest(committees[-1][0])
    entry = check_statement(committees[epoch][0], genesis_digest)
    check_catalogue()
    log = check_log(entry, genesis, committees[epoch:])
    check_block(entry, genesis_digest, committees[epoch])
    check_anchors(*log)
    if len(committees) > 1:
        print(f"This rests on {len(committees) - 1} handovers from the first committee. Whoever gathers a quorum of")
        print("retired keys could sign others: compare the members of the last epoch with somebody you trust. SHA-256:")
        print(sha256(cbor(cbor(read("epochs.cbor"))[0]["proofs"][-1])[0]["roster"]).hex())
    if len(sys.argv) == 2:
        print("All of this holds, under the genesis you trust.")
    else:
        print("All of this holds, IF the genesis is genuine. Compare its SHA-256 with one from somebody you trust:")
        print(genesis_digest.hex())


if __name__ == "__main__":
    try:
        main()
    except (LookupError, OSError, RecursionError, TypeError, ValueError, struct.error) as error:
        refuse(f"a file is missing or malformed: {error!r}")
