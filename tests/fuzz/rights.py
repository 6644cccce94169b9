"""Targets of what is said about a claim's rights, and of mints' terms in statements and in people's files."""

from __future__ import annotations

import json
from typing import Any, cast

from ledger.errors import MalformedClaim, MalformedRights, MalformedTerms, StatementError
from ledger.mint_terms import MintTerms, load_terms, parse_terms
from ledger.rights_content import parse_rights
from ledger.statement import StatementKind
from tests.fuzz.target import Target, holds, stable
from tests.ledger.rights_builders import CONTENTS, make_terms
from tests.ledger.test_mint_terms import EDGES, GENESIS, WRITTEN, reference

_KINDS = sorted({content.kind for content in CONTENTS.values()})
assert set(_KINDS) < {kind.value for kind in StatementKind}


def _rights(data: bytes) -> object:
    """Each kind's decoder on the same bytes: at most one may accept, and what it accepts has that one encoding."""
    accepted = []
    for kind in _KINDS:
        try:
            found = parse_rights(kind, data)
        except StatementError as error:
            holds(error.field or error.expected, "an error says what and where")
            continue
        holds(found.encode() == data, f"a {kind} has one encoding")
        holds(found.kind == kind, "a content is of the kind that read it")
        holds(found.describe().isprintable(), "what is shown to people is one line")
        accepted.append(found)
    holds(len(accepted) <= 1, f"one text, several contents: {accepted}")
    if not accepted:
        raise MalformedRights("content", "", "one of the kinds")
    return accepted[0]


def _terms(data: bytes) -> object:
    """One encoding, and the contracts' bytes whatever is accepted."""
    found = parse_terms(data)
    holds(found.encode() == data, "terms have one encoding")
    holds(found.preimage(GENESIS) == reference(found).preimage(GENESIS), "the contracts' encoder agrees")
    return found


RIGHTS = (
    Target(
        name="rights",
        run=_rights,
        seeds=lambda: [content.encode() for content in CONTENTS.values()],
        errors=(MalformedRights, MalformedTerms, MalformedClaim),
    ),
    Target(
        name="mint-terms",
        run=_terms,
        seeds=lambda: [make_terms(**changes).encode() for changes in EDGES],
        errors=(MalformedTerms,),
    ),
    Target(
        name="mint-terms-file",
        run=stable(load_terms, lambda value: json.dumps(cast(Any, cast(MintTerms, value).to_json())).encode()),
        seeds=lambda: [
            json.dumps(WRITTEN).encode(),
            *(json.dumps(make_terms(**changes).to_json()).encode() for changes in EDGES[:8]),
        ],
        errors=(MalformedTerms,),
    ),
)
