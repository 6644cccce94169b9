"""What single cells hold, each form read in one function: dates, durations, shares, roles, AI, licences, own ids."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import lru_cache
from typing import Final

from catalog.metadata.stated import CLAIMANT, StatedShare
from ledger.claim import (
    AiContribution,
    AiDisclosure,
    AiRole,
    ContainsAI,
    Licence,
    PartyRole,
    ProprietaryId,
    Right,
    TrainingUse,
)
from ledger.claim_parts import check_date, check_language
from ledger.claim_shares import WHOLE_BPS, territory_fault
from ledger.claim_vocabulary import WORLDWIDE


class CellFault(Exception):
    """A cell that cannot be read. expected: what would have been right. column: another one's name."""

    def __init__(self, expected: str, column: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.column = column


# ---- dates and durations ---------------------------------------------------------------------------------------------

_CLOCK: Final = re.compile(r"(?:(\d{1,3}):)?(\d{1,4}):([0-5]\d)(?:\.(\d{1,3}))?")
_SECONDS: Final = re.compile(r"(\d{1,7})(?:\.(\d{1,3}))?\s*s?")
_ISO_DURATION: Final = re.compile(
    r"P(?:(\d{1,3})D)?T?(?=.)(?:(\d{1,4})H)?(?:(\d{1,5})M)?(?:(\d{1,7})(?:\.(\d{1,9}))?S)?"
)


def read_date(text: str) -> str:
    """Raises: MalformedClaim."""
    check_date("", text)
    return text


def read_language(text: str) -> str:
    """Raises: MalformedClaim."""
    check_language("", text)
    return text


def read_duration_ms(text: str) -> int:
    """3:25, 1:02:03.5, 205, 205.4 s, PT3M25S. Raises: CellFault."""
    if match := _CLOCK.fullmatch(text):
        hours, minutes, seconds, part = match.groups()
        days = None
    elif match := _SECONDS.fullmatch(text):
        seconds, part = match.groups()
        days = hours = minutes = None
    elif match := _ISO_DURATION.fullmatch(text):
        days, hours, minutes, seconds, part = match.groups()
    else:
        raise CellFault("a length such as 3:25, 1:02:03, 205 or PT3M25S")
    whole = ((int(days or 0) * 24 + int(hours or 0)) * 60 + int(minutes or 0)) * 60 + int(seconds or 0)
    return whole * 1000 + int(((part or "") + "000")[:3])


# ---- shares ----------------------------------------------------------------------------------------------------------

_PERCENT: Final = re.compile(r"(\d{1,3})(?:[.,](\d{1,9}))?\s*%")
_BASIS_POINTS: Final = re.compile(r"(\d{1,5})\s*bps?", re.IGNORECASE)
_RIGHTS: Final = {
    name: right
    for right in Right
    for name in (right.value.casefold(), right.value.removesuffix("Right").casefold())
} | {"信息网络传播权": Right.INFORMATION_NETWORK_DISSEMINATION}  # fmt: skip
_RIGHT_NAMES: Final = ", ".join(right.value.removesuffix("Right") for right in Right)
_WORLD: Final = re.compile(r"(?:worldwide|world|ww)(?P<without>(?:\s*-\s*[a-z]{2})*)", re.IGNORECASE)
_FORM: Final = "Name: Right: Territory: Share, such as Jane Doe: Mechanical: Worldwide: 50%"


@lru_cache(maxsize=1 << 14)
def read_share(text: str) -> StatedShare:
    """Right `All` and territory Worldwide may be left out. Raises: CellFault."""
    parts = [part.strip() for part in text.rsplit(":", 3)]
    if len(parts) < 2 or not all(parts):
        raise CellFault(_FORM)
    name, between, bps = parts[0], parts[1:-1], read_bps(parts[-1])
    right, territory = Right.ALL, WORLDWIDE
    if len(between) == 2:
        right, territory = _right(between[0]), read_territory(between[1])
    elif between and between[0].casefold() in _RIGHTS:
        right = _right(between[0])
    elif between:
        territory = read_territory(between[0])
    party = CLAIMANT if name.casefold() == CLAIMANT else name
    return StatedShare(party=party, right=right, territory=territory, bps=bps)


def _right(text: str) -> Right:
    if (right := _RIGHTS.get(text.casefold())) is None:
        raise CellFault(f"a right of {_RIGHT_NAMES}")
    return right


def read_bps(text: str) -> int:
    """Basis points of 50%, 33.33% or 3333bp, exactly: nothing is rounded. Raises: CellFault."""
    if match := _PERCENT.fullmatch(text):
        decimals = (match[2] or "").rstrip("0")
        if len(decimals) > 2:
            raise CellFault("a share in whole basis points: at most two decimals of a percent, such as 33.33%")
        bps = int(match[1]) * 100 + int(f"{decimals:0<2}")
    elif match := _BASIS_POINTS.fullmatch(text):
        bps = int(match[1])
    else:
        raise CellFault("a share in percent or basis points with its unit, such as 33.33% or 3333bp")
    if bps > WHOLE_BPS:
        raise CellFault("a share of at most 100%")
    return bps


@lru_cache(maxsize=4096)
def read_territory(text: str) -> str:
    """Worldwide, Worldwide-US-CN, US, US+GB in any order and case, as the record has it. Raises: CellFault."""
    if match := _WORLD.fullmatch(text):
        without = sorted(set(re.findall(r"[a-zA-Z]{2}", match["without"])))
        territory = "-".join([WORLDWIDE, *sorted(code.upper() for code in without)])
    else:
        territory = "+".join(sorted({code.upper() for code in re.split(r"[\s+,/]+", text) if code}))
    if fault := territory_fault(territory):
        raise CellFault(fault)
    return territory


# ---- words -----------------------------------------------------------------------------------------------------------

_ROLES: Final = {role.value.casefold(): role for role in PartyRole}
_AI_WORDS: Final = {word.value.casefold(): word for word in (ContainsAI.ALL, ContainsAI.PARTLY, ContainsAI.NONE)}
_AI_ROLES: Final = {role.value.casefold(): role for role in AiRole}
_AI_ROLE: Final = re.compile(r"([^=]{1,64})=\s*(\w{1,16})\s*(?:\((.*)\))?")


def read_role(text: str) -> tuple[PartyRole, str]:
    """`Mixer: Max Moe`, roles as DDEX has them. Raises: CellFault."""
    written, colon, name = (part.strip() for part in text.partition(":"))
    if not colon or not name:
        raise CellFault("Role: Name, such as Mixer: Max Moe")
    key = re.sub(r"[\s_-]", "", written).casefold()
    if (role := _ROLES.get(key)) is None:
        near = get_close_matches(key, _ROLES, n=1, cutoff=0.6)
        meant = f"; did you mean {_ROLES[near[0]]}?" if near else ", such as Mixer, Vocalist, Conductor"
        raise CellFault(f"a role of DDEX's{meant}")
    return role, name


def read_ai(contains: str, roles: tuple[str, ...]) -> AiDisclosure | None:
    """None where it is declared as undeclared. Raises: CellFault; MalformedClaim where roles contradict the whole."""
    if not contains:
        raise CellFault("All, Partly or None for the whole, where ai_roles says something", "ai")
    if contains.casefold() == ContainsAI.UNDECLARED.casefold() and not roles:
        return None
    if (whole := _AI_WORDS.get(contains.casefold())) is None:
        raise CellFault("All, Partly or None; empty is undeclared, which is not the same as None", "ai")
    return AiDisclosure(contains=whole, contributions=tuple(_ai_role(role) for role in roles))


def _ai_role(text: str) -> AiContribution:
    match = _AI_ROLE.fullmatch(text)
    role = _AI_ROLES.get(re.sub(r"[\s_-]", "", match[1]).casefold()) if match else None
    ai = _AI_WORDS.get(match[2].casefold()) if match else None
    if match is None or role is None or ai is None:
        raise CellFault(f"Role=All, Partly or None (tool), roles {', '.join(AiRole)}", "ai_roles")
    return AiContribution(role=role, ai=ai, tool=(match[3] or "").strip() or None)


def read_training_use(text: str) -> TrainingUse:
    """Raises: CellFault."""
    for word in (TrainingUse.ALLOWED, TrainingUse.RESERVED, TrainingUse.UNSTATED):
        if text.casefold() == word.value.casefold():
            return word
    raise CellFault("Allowed or Reserved; empty is unstated")


def read_licence(text: str) -> Licence:
    """An SPDX identifier or an address. Raises: MalformedClaim."""
    return Licence(uri=text) if ":" in text else Licence(spdx=text)


def read_own_id(text: str) -> tuple[str, str]:
    """(namespace, value); no namespace is the member's own. Raises: MalformedClaim."""
    namespace, colon, value = (part.strip() for part in text.partition(":"))
    if not colon:
        namespace, value = "", namespace
    ProprietaryId(namespace=namespace or "-", value=value)
    return namespace, value


_P_LINE: Final = re.compile(r"(?:\(\s*[Pp]\s*\)|℗)?\s*(?:[12]\d{3})?\s*(.*)")


def read_p_line(text: str) -> str:
    """The company of `℗ 2026 Aurora Records`; the text itself where nothing else is in it."""
    match = _P_LINE.fullmatch(text)
    return (match[1] if match else "") or text
