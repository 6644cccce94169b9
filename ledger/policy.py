"""Trust policies: which logs and witnesses a reader believes, and how many of them (c2sp.org/tlog-policy).

A consortium's genesis determines its policy; anyone with a C2SP verifier can use the file without knowing Stretto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from consensus.errors import MalformedMessage, PeerError
from ledger.checkpoint import Checkpoint, check_cosignature, cosigner_key, log_key, parse_checkpoint
from ledger.genesis import Genesis
from ledger.note import Note, SignatureType, VerifierKey, check_note_signature, parse_decimal, parse_verifier_key
from ledger.roster import Roster

POLICY_BYTES_MAX: Final = 262_144
LOGS_MAX: Final = 128
WITNESSES_MAX: Final = 128
GROUPS_MAX: Final = 128
_MEMBERS_MAX: Final = WITNESSES_MAX + GROUPS_MAX
GROUP: Final = "VALIDATORS"
"""Name of the committee in a consortium's policy: in capitals, so no member id."""
NONE: Final = "none"
"""The predefined quorum that needs no cosignature."""


class PolicyNotMet(PeerError):
    """A checkpoint note is well formed but not trusted under the policy. reason: one clause, what is missing."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the checkpoint does not meet the policy: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """A cosigner under the name the policy file gives it. Invariant: `key` is of type 0x04."""

    name: str
    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A log. Invariant: `key` is of type 0x01; its name is the log's origin."""

    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """`threshold` of `members`, each a witness or an earlier group."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """Why a checkpoint is trusted: by whom it was signed."""

    checkpoint: Checkpoint
    log_signatures: int
    """How many of the policy's log keys signed; at least 1, unless the policy lists no log."""
    cosigners: tuple[tuple[str, int], ...]
    """(witness name, timestamp in seconds since the Unix epoch), in the policy's order; each witness at most once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Which checkpoints are trusted.

    Invariants: (1) no two logs and no two witnesses share a public key; (2) witnesses and groups share one namespace
    without repetition; (3) groups and quorum name what is defined before them.
    """

    logs: tuple[Log, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: str
    comment: str = ""
    """First lines of the encoded file, without "#"; ignored otherwise."""

    def __post_init__(self) -> None:
        _check_policy(self)

    def encode(self) -> bytes:
        """The file: comment, logs, witnesses, groups, quorum."""
        lines = [f"# {line}" for line in self.comment.splitlines()]
        lines += [" ".join(["log", log.key.encode(), *_url(log.url)]) for log in self.logs]
        lines += [" ".join(["witness", w.name, w.key.encode(), *_url(w.url)]) for w in self.witnesses]
        lines += [" ".join(["group", g.name, str(g.threshold), *g.members]) for g in self.groups]
        lines.append(f"quorum {self.quorum}")
        return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")

    def check(self, note: Note) -> Acceptance:
        """Verify a checkpoint note.

        Signatures of unknown keys are ignored; one of a known key that fails makes the whole note refused
        (signed-note, "Signatures"). Raises: MalformedMessage, InvalidSignature, PolicyNotMet.
        """
        checkpoint = parse_checkpoint(note.text)
        logs = [log.key for log in self.logs if log.key.name == checkpoint.origin]
        if self.logs and not logs:
            known = ", ".join(sorted({log.key.name for log in self.logs}))
            raise PolicyNotMet(f"its origin is {checkpoint.origin}, the policy knows {known}")
        by_key = {(s.name, s.key_id): s for s in note.signatures}
        log_signatures = 0
        for key in logs:
            signature = by_key.get((key.name, key.key_id))
            if signature is not None:
                check_note_signature(note.text, signature, key)
                log_signatures += 1
        if self.logs and not log_signatures:
            raise PolicyNotMet(f"no log key of {checkpoint.origin} signed it")
        cosigners: list[tuple[str, int]] = []
        for witness in self.witnesses:
            signature = by_key.get((witness.key.name, witness.key.key_id))
            if signature is not None:
                cosigners.append((witness.name, check_cosignature(checkpoint, signature, witness.key)))
        self._check_quorum(frozenset(name for name, _ in cosigners))
        return Acceptance(checkpoint=checkpoint, log_signatures=log_signatures, cosigners=tuple(cosigners))

    def _check_quorum(self, cosigned: frozenset[str]) -> None:
        if self.quorum == NONE:
            return
        met: dict[str, bool] = {witness.name: witness.name in cosigned for witness in self.witnesses}
        for group in self.groups:  # defined in order, so every member is known already
            met[group.name] = sum(met[member] for member in group.members) >= group.threshold
        if not met[self.quorum]:
            names = ", ".join(w.name for w in self.witnesses if w.name in cosigned) or "nobody"
            raise PolicyNotMet(f"quorum {self.quorum}{self._need()} is not met: cosigned by {names}")

    def _need(self) -> str:
        for group in self.groups:
            if group.name == self.quorum:
                return f" ({group.threshold} of {len(group.members)})"
        return ""


def _url(url: str | None) -> list[str]:
    return [] if url is None else [url]


def _malformed(field: str, expected: str) -> MalformedMessage:
    return MalformedMessage("policy", field, expected)


def _check_policy(policy: Policy) -> None:
    if len(policy.logs) > LOGS_MAX or len(policy.witnesses) > WITNESSES_MAX or len(policy.groups) > GROUPS_MAX:
        raise _malformed("length", f"at most {LOGS_MAX} logs, {WITNESSES_MAX} witnesses, {GROUPS_MAX} groups")
    for log in policy.logs:
        if log.key.type is not SignatureType.ED25519:
            raise _malformed("log", "a key of type 0x01 (Ed25519)")
    for witness in policy.witnesses:
        if witness.key.type is not SignatureType.COSIGNATURE:
            raise _malformed("witness", "a key of type 0x04 (Ed25519 cosignature)")
    for field, keys in (
        ("log", [log.key.key for log in policy.logs]),
        ("witness", [witness.key.key for witness in policy.witnesses]),
    ):
        if len(set(keys)) != len(keys):
            raise _malformed(field, "a public key at most once: a quorum counts distinct keys")
    named = {(key.name, key.key_id) for key in (*(log.key for log in policy.logs), *(w.key for w in policy.witnesses))}
    if len(named) != len(policy.logs) + len(policy.witnesses):
        # 4 bytes of key ID can be ground into a collision; then one key's valid line would be the other's invalid one.
        raise _malformed("key ID", "no two keys with one name and key ID")
    if any(c < " " and c != "\n" for c in policy.comment):
        raise _malformed("comment", "no control character but newline")
    defined: set[str] = set()
    for witness in policy.witnesses:
        _define(defined, witness.name)
    for group in policy.groups:
        _check_members(group, defined)
        _define(defined, group.name)
    if policy.quorum != NONE and policy.quorum not in defined:
        raise _malformed("quorum", f"a witness or group defined before it, or none; got {policy.quorum}")


def _define(defined: set[str], name: str) -> None:
    if not name or name == NONE or any(c in " \t\n" for c in name):
        raise _malformed("name", f"a name without whitespace that is not {NONE}")
    if name in defined:
        raise _malformed("name", f"each name defined once, got {name} again")
    defined.add(name)


def _check_members(group: Group, defined: set[str]) -> None:
    if not 1 <= len(group.members) <= _MEMBERS_MAX or len(set(group.members)) != len(group.members):
        raise _malformed(f"group {group.name}", "at least one member, each listed once")
    unknown = [member for member in group.members if member not in defined]
    if unknown:
        raise _malformed(f"group {group.name}", f"members defined before it, got {unknown[0]}")
    if not 1 <= group.threshold <= len(group.members):
        raise _malformed(f"group {group.name}", f"a threshold from 1 to {len(group.members)}, got {group.threshold}")


def consortium_policy(
    *, origin: str, validators: Sequence[tuple[str, bytes, bytes]], quorum: int, comment: str = ""
) -> Policy:
    """The policy of a consortium: any validator's log key, and `quorum` distinct cosigners.

    validators: (member id, log public key, cosign public key) in committee order.
    """
    members = tuple(member_id for member_id, _, _ in validators)
    return Policy(
        logs=tuple(Log(key=log_key(origin, log)) for _, log, _ in validators),
        witnesses=tuple(
            Witness(name=member_id, key=cosigner_key(origin, member_id, cosign)) for member_id, _, cosign in validators
        ),
        groups=(Group(name=GROUP, threshold=quorum, members=members),),
        quorum=GROUP,
        comment=comment,
    )


def genesis_policy(genesis: Genesis) -> Policy:
    """The policy that a genesis determines, for its first committee."""
    return epoch_policy(genesis, genesis.roster)


def epoch_policy(genesis: Genesis, roster: Roster) -> Policy:
    """The policy of one epoch's committee. genesis: for the comment."""
    comment = f"Who may vouch for the log of {genesis.name}\nGenesis SHA-256 {genesis.digest.hex()}"
    return consortium_policy(
        origin=roster.origin,
        validators=[(m.id, m.keys.log, m.keys.cosign) for m in roster.validator_members()],
        quorum=roster.quorum,
        comment=comment if roster.epoch == 0 else f"{comment}\nEpoch {roster.epoch}",
    )


def accepting_roster(genesis: Genesis, rosters: Sequence[Roster], note: Note) -> tuple[Roster, Acceptance]:
    """The first of `rosters` whose committee vouches for a checkpoint, and how.

    A note does not say of which epoch it is; two committees that share a quorum of keys may both stand behind it.
    rosters: at least one. Raises: what `Policy.check` raises under the last of them.
    """
    *earlier, last = rosters
    for roster in earlier:
        try:
            return roster, epoch_policy(genesis, roster).check(note)
        except PeerError:
            continue
    return last, epoch_policy(genesis, last).check(note)


def parse_policy(data: bytes) -> Policy:
    """Parse a tlog-policy file; comments are dropped. Raises: MalformedMessage naming the line.

    data: at most POLICY_BYTES_MAX bytes. Octets with the high bit set are opaque, as the specification wants.
    """
    if len(data) > POLICY_BYTES_MAX:
        raise _malformed("length", f"at most {POLICY_BYTES_MAX} bytes, got {len(data)}")
    if data and not data.endswith(b"\n"):
        raise _malformed("form", "every line ending in a newline")
    if any((octet < 0x20 and octet not in b"\t\n") or octet == 0x7F for octet in data):
        raise _malformed("form", "no control character but tab and newline")
    logs: list[Log] = []
    witnesses: list[Witness] = []
    groups: list[Group] = []
    quorum: str | None = None
    defined: set[str] = {NONE}
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        words = line.replace("\t", " ").split(" ")
        match [word for word in words if word]:
            case []:
                continue
            case [first, *_] if first.startswith("#"):
                continue
            case ["log", vkey, *url] if len(url) <= 1:
                logs.append(Log(key=parse_verifier_key(vkey), url=url[0] if url else None))
            case ["witness", name, vkey, *url] if len(url) <= 1:
                witnesses.append(Witness(name=name, key=parse_verifier_key(vkey), url=url[0] if url else None))
                defined.add(name)
            case ["group", name, threshold, *members] if members and set(members) <= defined - {NONE}:
                groups.append(Group(name=name, threshold=_threshold(threshold, members), members=tuple(members)))
                defined.add(name)
            case ["quorum", name] if quorum is None and name in defined:
                quorum = name
            case _:
                raise _malformed(
                    f"line {number}", "log, witness, group or one quorum, each naming what stands above it"
                )
    if quorum is None:
        raise _malformed("quorum", "exactly one quorum line")
    return Policy(logs=tuple(logs), witnesses=tuple(witnesses), groups=tuple(groups), quorum=quorum)


def _threshold(word: str, members: Sequence[str]) -> int:
    keywords: Mapping[str, int] = {"any": 1, "all": len(members)}
    return keywords[word] if word in keywords else parse_decimal("policy", "threshold", word, _MEMBERS_MAX)
