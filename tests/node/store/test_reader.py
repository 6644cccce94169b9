"""The reader: another process's eyes on the store; exact answers, paged, while the writer goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.certificates import check_certificate
from ledger import merkle
from ledger.catalogue import CHUNK_BYTES, build_catalogue, check_catalogue
from ledger.claim import Claim as LedgerClaim
from ledger.claim import Media, Subject
from ledger.ed25519 import verify_strict
from ledger.genesis import parse_genesis
from ledger.note import parse_note
from ledger.payload import parse_payload
from ledger.statement import parse_statement
from node.store import reader as reader_module
from node.store.chain import ChainStore
from node.store.commitment import claim_marks
from node.store.errors import OtherConsortium, StoreNotReady
from node.store.reader import InvalidPage, ReadSnapshot, StoredClaim, StoreReader
from tests.node.store.chains import GENESIS, ChainMaker, claim, digest, isrc, make_genesis, sign, statement

LARGE = 1_000
"""Claims of a catalogue whose body takes several chunks."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Leaves: 0 and 1 single claims; 2 a catalogue of LARGE; 3 one of 5, all with the ISRC of claim 1; 4 another."""
    folder = tmp_path_factory.mktemp("store") / "chain"
    with ChainStore.open(folder, GENESIS) as store:
        maker = ChainMaker(store)
        maker.commit([[statement(1)], [statement(2)]])
        maker.commit([[maker.catalogue(1_000, LARGE)]], [], [])
        maker.commit([[maker.catalogue(5_000, 5, isrc_of=1)]])
        maker.commit([[statement(3, isrc_of=1)]])
        maker.cosign(3)
        maker.cosign(4, ["court"])
    return folder


@pytest.fixture
def snapshot(path: Path) -> Iterator[ReadSnapshot]:
    reader = StoreReader(path, GENESIS)
    with reader.snapshot() as opened:
        yield opened
    reader.close()


def places(claims: tuple[StoredClaim, ...]) -> list[tuple[int, int]]:
    return [(found.index, found.position) for found in claims]


def test_it_says_where_the_log_stands(snapshot: ReadSnapshot) -> None:
    assert (snapshot.size, snapshot.claims) == (5, LARGE + 8)
    head = snapshot.head()
    assert (head.block.height, head.size) == (6, 5)
    assert snapshot.frontier().root() == merkle.root_at(5, snapshot.tree_hash)


def test_a_statement_is_served_verbatim_by_digest_and_by_index(snapshot: ReadSnapshot) -> None:
    raw = statement(2)
    found = snapshot.statement(parse_statement(raw).digest)
    assert found is not None
    assert (found.raw, found.index, found.height, found.issuer) == (raw, 1, 1, "label")
    assert (found.catalogue, found.claims) == (False, 1)
    assert snapshot.entry(1) == found
    assert snapshot.statement(bytes(32)) is None
    assert snapshot.entry(5) is None
    catalogue = snapshot.entry(2)
    assert catalogue is not None
    assert (catalogue.catalogue, catalogue.claims, catalogue.height) == (True, LARGE, 2)


@pytest.mark.parametrize("kind", ["blake3", "sha256"])
@pytest.mark.parametrize("number", [1, 1_000, 1_015, 1_016, 1_017, 1_000 + LARGE - 1, 5_004])
def test_a_claim_is_found_by_either_digest_of_its_file(snapshot: ReadSnapshot, kind: str, number: int) -> None:
    found, page = snapshot.claims_by(kind, digest(kind, number), 10)
    assert page == b""
    assert [c.claim for c in found] == [claim(number, isrc_of=1 if number >= 5_000 else None).encode()]
    expected = (0, 0) if number == 1 else (3, 4) if number == 5_004 else (2, number - 1_000)
    assert places(found) == [expected]
    assert found[0].catalogue == (number >= 1_000)
    other = "sha256" if kind == "blake3" else "blake3"
    assert snapshot.claims_by(other, digest(kind, number), 10) == ((), b"")


def test_every_claim_of_a_catalogue_is_found_where_the_body_has_it(snapshot: ReadSnapshot) -> None:
    entry = snapshot.entry(2)
    assert entry is not None
    body = snapshot.catalogue(entry.digest)
    assert body is not None
    assert len(body.chunks) > 2, "claims straddle chunks in this test"
    claims = check_catalogue(body.header, body.manifest, body.chunks)
    assert [snapshot.claim(2, position).claim for position in range(LARGE)] == list(claims)  # type: ignore[union-attr]
    assert snapshot.claim(2, LARGE) is None
    assert snapshot.claim(2, -1) is None
    assert snapshot.claim(0, 1) is None
    assert snapshot.claim(9, 0) is None


def test_pages_join_to_the_whole_in_order_of_the_log(snapshot: ReadSnapshot) -> None:
    key = isrc(1).encode()
    expected = [(0, 0), *((3, position) for position in range(5)), (4, 0)]
    whole, rest = snapshot.claims_by("isrc", key, 100)
    assert (places(whole), rest) == (expected, b"")
    assert places(snapshot.claims_by("isrc", key, 7)[0]) == expected
    for limit in (1, 2, 3):
        joined: list[StoredClaim] = []
        page = b""
        while True:
            found, page = snapshot.claims_by("isrc", key, limit, page)
            joined += found
            assert len(found) == limit or not page
            if not page:
                break
        assert tuple(joined) == whole


def test_claims_of_a_statement_come_by_its_digest(snapshot: ReadSnapshot) -> None:
    entry = snapshot.entry(2)
    assert entry is not None
    first, page = snapshot.claims_by("statement", entry.digest, 300)
    rest, end = snapshot.claims_by("statement", entry.digest, 1_000, page)
    assert places(first + rest) == [(2, position) for position in range(LARGE)]
    assert end == b""
    assert snapshot.claims_by("statement", bytes(32), 10) == ((), b"")


@pytest.mark.parametrize("page", [b"x", bytes(13), b"\xff" * 12])
def test_a_page_token_from_elsewhere_is_refused(snapshot: ReadSnapshot, page: bytes) -> None:
    with pytest.raises(InvalidPage):
        snapshot.claims_by("isrc", isrc(1).encode(), 10, page)


def test_no_catalogue_is_served_for_what_is_none(snapshot: ReadSnapshot) -> None:
    assert snapshot.catalogue(parse_statement(statement(1)).digest) is None
    assert snapshot.catalogue(bytes(32)) is None


def test_checkpoints_cover_a_leaf_once_they_are_complete(snapshot: ReadSnapshot) -> None:
    assert snapshot.latest_checkpoint() == 3
    assert [snapshot.checkpoint_covering(index) for index in range(5)] == [3, 3, 3, None, None]
    checkpoint, note = snapshot.checkpoint(3), snapshot.note(3)
    assert checkpoint is not None
    assert note is not None
    parsed = parse_note(note)
    assert parsed.text == checkpoint.body()
    assert len(parsed.signatures) == 6
    assert snapshot.signers(3) == ("court", "label", "society")
    assert snapshot.signers(4) == ("court",)
    assert snapshot.note(5) is None
    assert snapshot.note(1) is None
    assert snapshot.checkpoint(5) is not None


def test_a_leaf_is_proven_to_have_been_ordered(snapshot: ReadSnapshot) -> None:
    proof = snapshot.block_of(2)
    assert proof is not None
    assert [proof.block.height, *(block.height for block in proof.headers)] == [2, 3, 4]
    parent = proof.block
    for block in proof.headers:
        assert block.parent == parent.digest
        parent = block
    assert proof.finalization.vote.block == parent.digest
    check_certificate(proof.finalization, GENESIS.committee(), verify_strict)
    payload = parse_payload(proof.payload)
    assert payload.digest in proof.block.payloads
    entry = snapshot.entry(2)
    assert entry is not None
    assert entry.raw in payload.statements
    alone = snapshot.block_of(4)
    assert alone is not None
    assert alone.headers == ()
    assert snapshot.block_of(5) is None


def test_colliding_keys_neither_answer_nor_hold_up_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index keeps 15 bytes of a digest; whoever declares digests that differ only behind them is not found."""
    monkeypatch.setattr(reader_module, "SCAN_MAX", 3)
    wanted = digest("blake3", 1)

    def like(last: int) -> LedgerClaim:
        blake3 = wanted[:31] + bytes([wanted[31] ^ last])
        media = Media(blake3=blake3, sha256=digest("sha256", last), size=1)
        return LedgerClaim(subject=Subject.RECORDING, title="Looks alike", media=(media,))

    with ChainStore.open(tmp_path, GENESIS) as store:
        ChainMaker(store).commit([[*(sign(like(n), f"ref-{n}") for n in (1, 2, 3, 4)), sign(like(0), "ref-0")]])
    reader = StoreReader(tmp_path, GENESIS)
    with reader.snapshot() as snapshot:
        found, page = snapshot.claims_by("blake3", wanted, 10)
        assert (found, bool(page)) == ((), True)
        found, page = snapshot.claims_by("blake3", wanted, 10, page)
        assert (places(found), page) == ([(4, 0)], b"")
    reader.close()


@settings(max_examples=40)
@given(st.lists(st.integers(1, 4_096), min_size=1, max_size=60))
def test_marks_point_at_every_sixteenth_claim(lengths: list[int]) -> None:
    claims = [b"c" * length for length in lengths]
    body = b"".join(build_catalogue(claims).chunks)
    marks = claim_marks(claims)
    assert len(marks) == 4 * -(-len(claims) // 16)
    for i in range(0, len(claims), 16):
        at = int.from_bytes(marks[i // 4 : i // 4 + 4], "big")
        assert int.from_bytes(body[at : at + 2], "big") == len(claims[i])
    assert CHUNK_BYTES == 65_536


# ---- beside a writer -------------------------------------------------------------------------------------------------


def test_before_the_writer_made_the_store_it_is_not_ready_and_then_it_is(tmp_path: Path) -> None:
    reader = StoreReader(tmp_path / "chain", GENESIS)
    with pytest.raises(StoreNotReady), reader.snapshot():
        pass
    assert not (tmp_path / "chain").exists()
    ChainStore.open(tmp_path / "chain", GENESIS).close()
    with reader.snapshot() as snapshot:
        assert snapshot.size == 0
    reader.close()


def test_a_store_of_another_genesis_is_not_read(path: Path) -> None:
    reader = StoreReader(path, parse_genesis(make_genesis("Another")))
    with pytest.raises(OtherConsortium), reader.snapshot():
        pass


def test_a_snapshot_stays_while_the_writer_commits_and_outgrows_the_readers_map(tmp_path: Path) -> None:
    """The writer is another process, as in a node; the reader's map is as small as can be, so it must be grown."""
    script = (
        "import sys; from pathlib import Path\n"
        "from node.store.chain import ChainStore\n"
        "from tests.node.store.chains import GENESIS, ChainMaker, statement\n"
        "with ChainStore.open(Path(sys.argv[1]), GENESIS) as store:\n"
        "    maker = ChainMaker(store)\n"
        "    for line in sys.stdin:\n"
        "        store.put_blobs([bytes([int(line)]) * 3_000_000])\n"
        "        maker.commit([[statement(int(line))]])\n"
        "        print(store.size, flush=True)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert writer.stdin is not None
    assert writer.stdout is not None
    reader = StoreReader(tmp_path, GENESIS, map_bytes=2**20)
    try:
        for turn in range(1, 5):
            writer.stdin.write(f"{turn}\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == f"{turn}\n"
            with reader.snapshot() as snapshot:
                assert snapshot.size == turn
                assert snapshot.statement(parse_statement(statement(turn)).digest) is not None
        with reader.snapshot() as before:
            writer.stdin.write("9\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == "5\n"
            assert before.size == 4
            assert before.statement(parse_statement(statement(9)).digest) is None
        with reader.snapshot() as after:
            assert after.size == 5
    finally:
        writer.stdin.close()
        writer.wait(30)
        writer.stdout.close()
        reader.close()
