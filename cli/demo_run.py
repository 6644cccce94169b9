"""The demonstration's steps, on the same functions as the verbs, and what they found."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.padding import Padding
from rich.text import Text

from catalog.claims import Terms, TrackClaim, build_claim, derived_salts
from catalog.digests import hash_file, hash_files
from catalog.examine import Track, examine_all
from catalog.scan import LeftOut, scan
from catalog.statements import SignedClaims, sign_claims
from catalog.tracks import render_tracks
from cli.client import NodeClient
from cli.demo_forgery import forged_bundle
from cli.devnet import wait_until_up
from cli.output import CliError, Exit, complain, human_bytes, printable
from ledger.claim import Claim, ProprietaryId, Subject
from ledger.evidence import MediaDigests, Outcome, Report, Verdict, verify_bundle
from ledger.genesis import Genesis
from node.devnet import Devnet, init_devnet, load_devnet
from node.keys import load_private_key, public_bytes, seed_bytes
from node.rpc.types import SubmissionResult, SubmissionState

EVIDENCE_FILES = 3
SINGLE_CLAIMS_MAX = 8
"""Works the society claims one by one, so that time to finality has a median."""
CATCH_UP_S = 30.0
FINAL_S = 120.0


class Narrator:
    """Tells what happens while it happens: a spinner on a terminal, plain lines elsewhere; always on stderr."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, quiet=quiet, highlight=False)

    @contextmanager
    def step(self, title: str) -> Iterator[list[str]]:
        """One step; what is put into the list is said when it is done."""
        said: list[str] = []
        begun = time.monotonic()
        with self._console.status(f"{title} …"):
            yield said
        seconds = f"{time.monotonic() - begun:5.1f} s"
        self._console.print(f"[green]✓[/] [dim]{seconds}[/]  {title}", markup=True)
        for line in said:
            self._console.print(Padding(Text(line, style="dim"), (0, 0, 0, 11), expand=False))

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar with rate and time left; yields what is told the bytes done, from any thread."""
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal) as bar:
            task = bar.add_task(title, total=total)
            yield lambda size: bar.advance(task, size)


@dataclass(kw_only=True)
class Result:
    """Everything the run found out; `document` is the line for programs."""

    files: int = 0
    audio_bytes: int = 0
    left_out: int = 0
    hashed_bytes: int = 0
    hash_s: float = 1.0
    claims: int = 0
    finality_ms: list[float] = field(default_factory=list)
    nodes: int = 0
    signers: tuple[str, ...] = ()
    evidence_verified: int = 0
    checks_passed: int = 0
    forgeries: int = 0
    forgeries_refused: int = 0
    without_genesis: str = ""
    node_restarted: bool = False
    catch_up_s: float = 0.0
    height: int = 0
    size: int = 0
    root: bytes = b""
    token: str = ""
    token_checks: int = 0
    mint_gas: int = 0
    anchored: bool = False
    kept: Path | None = None
    failures: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.failures

    @property
    def finality_ms_p50(self) -> float:
        return statistics.median(self.finality_ms)

    def document(self) -> dict[str, object]:
        document: dict[str, object] = {
            "ok": self.ok,
            "files": self.files,
            "bytes": self.audio_bytes,
            "claims": self.claims,
            "finality_ms_p50": round(self.finality_ms_p50, 1),
            "nodes": self.nodes,
            "signers": list(self.signers),
            "evidence_verified": self.evidence_verified,
            "forgeries_refused": self.forgeries_refused,
            "node_restarted": self.node_restarted,
            "height": self.height,
            "token": self.token,
            "token_checks": self.token_checks,
            "anchored": self.anchored,
        }
        if self.left_out:
            document["left_out"] = self.left_out
        if self.failures:
            document["failures"] = self.failures
        return document


class Demo:
    """One run. Everything it makes lies in one temporary folder; every process it starts is ended with it."""

    def __init__(self, *, audio: Path | None, keep: Path | None, narrator: Narrator) -> None:
        self._audio = audio
        self._keep = keep
        self._say = narrator
        self._catalogue_index = 0
        self._statement = b""
        self.result = Result()

    def run(self) -> Result:
        """Raises: CliError, LocalError where a step cannot be done at all; wrong outcomes are in `result.failures`."""
        # Directly under the system's temporary folder: a unix socket's path must be short.
        work = Path(tempfile.mkdtemp(prefix="stretto-"))
        devnet: Devnet | None = None
        try:
            with self._say.step("Found a consortium: a label, a court, a society, a platform") as said:
                genesis = init_devnet(work / "devnet")
                devnet = load_devnet(work / "devnet")
                said += [f"{m.name} ({m.role}), keys of its own" for m in genesis.members]
            self._journey(work, devnet, genesis)
            if self._keep is not None:
                self._keep_results(work, devnet)
        finally:
            if devnet is not None:
                devnet.stop()
            shutil.rmtree(work, ignore_errors=True)
        return self.result

    def _journey(self, work: Path, devnet: Devnet, genesis: Genesis) -> None:
        tracks = self._listen(work)
        signed = self._sign(devnet, genesis, tracks)
        with self._say.step("Start the four nodes, and wait until they see each other") as said:
            for node in devnet.nodes:
                node.start()
            wait_until_up(devnet, list(devnet.nodes))
            said.append("four processes, four stores, libp2p between them (TCP, noise, yamux), gRPC for everybody else")
        self._record(devnet, signed, tracks, genesis)
        bundles = self._prove(work, devnet, tracks)
        self._verify(genesis, bundles, tracks)
        self._forge(work, genesis, bundles, tracks)
        self._outage(devnet, genesis, tracks)
        self._mint(devnet, genesis, signed, tracks, bundles)
        self._look(devnet)

    # ---- from audio to a statement -----------------------------------------------------------------------------------

    def _listen(self, work: Path) -> list[Track]:
        folder = self._audio
        if folder is None:
            folder = work / "music"
            with self._say.step("Render a few tracks of our own") as said:
                said += [str(path.relative_to(folder)) for path in render_tracks(folder)]
        found = list(scan([folder]))
        total = sum(path.stat().st_size for path in found if isinstance(path, Path) and path.exists())
        with self._say.step("Hash every file: BLAKE3 and SHA-256 in one pass") as said:
            begun = time.monotonic()
            with self._say.progress("hashing", total) as advance:
                hashed = [one for one in hash_files(found, advance=advance) if not isinstance(one, LeftOut)]
            self.result.hashed_bytes = sum(one.size_bytes for one in hashed)
            self.result.hash_s = max(time.monotonic() - begun, 1e-6)
            rate = human_bytes(self.result.hashed_bytes / self.result.hash_s)
            said.append(f"{len(hashed)} files, {human_bytes(self.result.hashed_bytes)}, {rate}/s")
        tracks: dict[bytes, Track] = {}
        with self._say.step("Check that each is whole, sound audio, and read its tags") as said:
            with self._say.progress("checking", total) as advance:
                for one in examine_all(found, advance=advance):
                    if isinstance(one, LeftOut):
                        self.result.left_out += 1
                        complain(f"{one.path}: {one.reason}; left out")
                        continue
                    self.result.files += 1
                    self.result.audio_bytes += one.digests.size_bytes
                    tracks.setdefault(one.digests.blake3, one)
            same = self.result.files - len(tracks)
            said.append(f"{self.result.files} tracks" + (f", {same} of them the same bytes as another" if same else ""))
        if not tracks:
            raise CliError(f"no audio in {folder}: nothing to put on record", Exit.NO_INPUT)
        return list(tracks.values())

    def _sign(self, devnet: Devnet, genesis: Genesis, tracks: list[Track]) -> SignedClaims:
        with self._say.step("Make a claim for each track, and sign ONE statement over all of them") as said:
            key = load_private_key(devnet.node("label").config.key_path("statement"))
            salts = derived_salts(seed_bytes(key))
            claims = [build_claim(track, Terms(member="label"), salts) for track in tracks]
            signed = sign_claims(
                claims,
                roster=genesis.roster,
                member="label",
                public_key=public_bytes(key),
                sign=key.sign,
                as_catalogue=True,
            )
            said.append(
                f"{len(claims)} claims, one signature of {genesis.members[0].name}, {len(signed.statement.raw)} bytes"
            )
        return signed

    def _works(self, devnet: Devnet, genesis: Genesis, tracks: list[Track], *, together: bool) -> list[SignedClaims]:
        """The society's claims on the works that were recorded: one by one, or as a second catalogue."""
        key = load_private_key(devnet.node("society").config.key_path("statement"))
        kind = "second" if together else "single"
        claims = []
        for track in tracks:
            number = ProprietaryId(namespace="society-work", value=f"{kind}-{track.digests.blake3.hex()[:16]}")
            claim = Claim(
                subject=Subject.WORK, title=track.tags.title or printable(track.path.stem)[:200], ids=(number,)
            )
            claims.append(TrackClaim(path=track.path, claim=claim, encoded=claim.encode(), openings=(), warnings=()))
        return [
            sign_claims(
                group,
                roster=genesis.roster,
                member="society",
                public_key=public_bytes(key),
                sign=key.sign,
                client_ref=f"{kind}-{i}",
                as_catalogue=together,
            )
            for i, group in enumerate([claims] if together else [[claim] for claim in claims])
        ]

    # ---- on record ---------------------------------------------------------------------------------------------------

    def _submit(self, client: NodeClient, signed: SignedClaims) -> SubmissionResult:
        begun = time.perf_counter()
        result = client.submit(signed.statement.raw, signed.submission.blobs)
        self.result.finality_ms.append((time.perf_counter() - begun) * 1000)
        if result.state is not SubmissionState.FINAL:
            why = f": {result.refusal.code} {result.refusal.expected}" if result.refusal else ""
            raise CliError(f"a statement that should be recorded was {result.state.name}{why}", Exit.REFUSED)
        return result

    def _record(self, devnet: Devnet, signed: SignedClaims, tracks: list[Track], genesis: Genesis) -> None:
        with (
            self._say.step("Submit it to the label's node; four nodes order it and agree") as said,
            NodeClient(devnet.node("label").config.rpc, deadline_s=FINAL_S) as client,
        ):
            result = self._submit(client, signed)
            self._catalogue_index, self._statement = result.index, signed.statement.raw
            said.append(f"final after {self.result.finality_ms[-1]:.0f} ms: leaf {result.index}, block {result.height}")
            again = client.submit(signed.statement.raw, signed.submission.blobs)
            self._expect(
                again.state is SubmissionState.DUPLICATE, "the same statement again is recognised, not recorded"
            )
            said.append("the same statement once more: recognised, recorded once")
        with (
            self._say.step("The society claims the works, one statement each, at its own node") as said,
            NodeClient(devnet.node("society").config.rpc, deadline_s=FINAL_S) as client,
        ):
            singles = self._works(devnet, genesis, tracks[:SINGLE_CLAIMS_MAX], together=False)
            for single in singles:
                self._submit(client, single)
            shown = ", ".join(f"{ms:.0f}" for ms in self.result.finality_ms[1:])
            said.append(f"{len(singles)} statements, final after {shown} ms")

    def _prove(self, work: Path, devnet: Devnet, tracks: list[Track]) -> list[Path]:
        with (
            self._say.step("Fetch an evidence file for each of three tracks from the COURT's node") as said,
            NodeClient(devnet.node("court").config.rpc, deadline_s=FINAL_S) as client,
        ):
            paths = []
            for number, track in enumerate(tracks[:EVIDENCE_FILES], start=1):
                path = work / f"{number}.evidence.zip"
                # The court's node may be some milliseconds behind the one that answered us: it waits for the leaf.
                path.write_bytes(client.evidence(media_digest=track.digests.blake3, min_size=self._catalogue_index + 1))
                paths.append(path)
                said.append(f"{path.name}: {human_bytes(path.stat().st_size)}, {printable(track.path.name)}")
        return paths

    # ---- checked offline ---------------------------------------------------------------------------------------------

    def _verify(self, genesis: Genesis, bundles: list[Path], tracks: list[Track]) -> None:
        with self._say.step("Verify them offline: no node, no network, only the genesis") as said:
            for bundle, track in zip(bundles, tracks, strict=False):
                report = verify_bundle(bundle.read_bytes(), genesis, _media(track.path))
                passed = [check for check in report.checks if check.outcome is Outcome.PASSED]
                verified = report.verdict is Verdict.VERIFIED
                self._expect(verified, f"{bundle.name} is verified: {_why(report)}")
                self.result.evidence_verified += verified
                self.result.checks_passed += len(passed)
            said.append(
                f"{self.result.evidence_verified} verified, {self.result.checks_passed} checks, each with its reason"
            )

    def _forge(self, work: Path, genesis: Genesis, bundles: list[Path], tracks: list[Track]) -> None:
        with self._say.step("Try to cheat") as said:
            data, track = bundles[0].read_bytes(), tracks[0]
            audio = work / f"copy{track.path.suffix}"
            original = track.path.read_bytes()
            audio.write_bytes(_flipped(original, len(original) // 2))
            self._refuse(said, "one byte of the audio flipped", verify_bundle(data, genesis, _media(audio)))
            audio.unlink()
            inside = data.index(self._statement) + len(self._statement) // 2  # of the statement, where it would matter
            tampered = verify_bundle(_flipped(data, inside), genesis, None)
            self._refuse(said, "one byte of the evidence flipped", tampered)
            claim = build_claim(track, Terms(member="label"), derived_salts(b"forger")).claim
            forged = forged_bundle(genesis, claim, "label", time.time_ns() // 1_000_000)
            # Its own genesis finds nothing wrong with it: only whom the verifier trusts makes the difference.
            alone = verify_bundle(forged, None, None)
            self._expect(alone.verdict is Verdict.INCOMPLETE, f"the forgery is consistent in itself: {_why(alone)}")
            against = verify_bundle(forged, genesis, None)
            self._refuse(said, "a complete bundle by four invented validators", against)
            report = verify_bundle(data, None, None)
            self.result.without_genesis = report.verdict.name.lower()
            self._expect(report.verdict is Verdict.INCOMPLETE, "without a trusted genesis nothing is verified")
            said.append(
                f"no genesis given: {self.result.without_genesis}, since a bundle's own validator list proves nothing"
            )

    def _refuse(self, said: list[str], forgery: str, report: Report) -> None:
        refused = report.verdict is Verdict.REFUSED
        self.result.forgeries += 1
        self.result.forgeries_refused += refused
        self._expect(refused, f"{forgery} is refused")
        said.append(f"{forgery}: {report.verdict.name.lower()}: {_why(report)}")

    # ---- a node fails ------------------------------------------------------------------------------------------------

    def _outage(self, devnet: Devnet, genesis: Genesis, tracks: list[Track]) -> None:
        victim = devnet.node("platform")
        with self._say.step("Kill the platform's node, record a second catalogue with three, restart it") as said:
            victim.stop(kill=True)
            (second,) = self._works(devnet, genesis, tracks, together=True)
            with NodeClient(devnet.node("society").config.rpc, deadline_s=FINAL_S) as client:
                self._submit(client, second)
                said.append(f"three nodes: final after {self.result.finality_ms[-1]:.0f} ms")
                target = client.status()
            begun = time.monotonic()
            victim.start()
            wait_until_up(devnet, [victim])
            with NodeClient(victim.config.rpc, deadline_s=FINAL_S) as client:
                while (status := client.status()).size < target.size and time.monotonic() - begun < CATCH_UP_S:
                    time.sleep(0.05)
            self.result.catch_up_s = time.monotonic() - begun
            self.result.node_restarted = (status.size, status.root) == (target.size, target.root)
            self._expect(self.result.node_restarted, "the restarted node has the same log as the others")
            said.append(
                f"caught up {self.result.catch_up_s:.1f} s after its restart: {status.size} leaves, the same root"
            )

    def _mint(
        self, devnet: Devnet, genesis: Genesis, signed: SignedClaims, tracks: list[Track], bundles: list[Path]
    ) -> None:
        """Of the first claim, whose evidence the first bundle is."""
        with self._say.step("Load the chain's libraries"):
            from cli.demo_mint import DemoMint, Scene  # web3 and py-evm: a second that `stretto --help` shall not take

        title = tracks[0].tags.title or printable(tracks[0].path.stem)
        scene = Scene(devnet=devnet, genesis=genesis, catalogue=signed.statement.digest, title=title, bundle=bundles[0])
        DemoMint(scene, self._say, self.result, self._expect).run()

    def _look(self, devnet: Devnet) -> None:
        roots = set()
        for node in devnet.nodes:
            with NodeClient(node.config.rpc, deadline_s=FINAL_S) as client:
                status = client.status()
                self.result.signers = max(self.result.signers, client.checkpoint().signers, key=len)
            roots.add((status.size, status.root))
            self.result.nodes += 1
            self.result.height = max(self.result.height, status.height)
            self.result.size, self.result.root, self.result.claims = status.size, status.root, status.claims
        self._expect(len(roots) == 1, f"all nodes have the same log: {len(roots)} differ")

    def _expect(self, condition: bool, what: str) -> None:
        if not condition:
            self.result.failures.append(what)
            complain(f"NOT AS IT SHOULD BE: {what}")

    def _keep_results(self, work: Path, devnet: Devnet) -> None:
        assert self._keep is not None, "asked only where the user wants to keep something"
        self._keep.mkdir(parents=True, exist_ok=True)
        for path in (*sorted(work.glob("*.zip")), devnet.genesis_path):
            shutil.copy2(path, self._keep / path.name)
        for node in devnet.nodes:
            shutil.copy2(node.log_path, self._keep / f"{node.member}.log")
        self.result.kept = self._keep


def _media(path: Path) -> MediaDigests:
    digests = hash_file(path)
    return MediaDigests(blake3=digests.blake3, sha256=digests.sha256)


def _flipped(data: bytes, at: int) -> bytes:
    """A copy with one bit of one byte changed."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _why(report: Report) -> str:
    """The first check that did not pass, in the verifier's words."""
    for check in report.checks:
        if check.outcome is Outcome.FAILED:
            return f"{check.name}: {check.reason}"
    return "every check passed"
