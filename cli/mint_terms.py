"""Terms of a mint from what a person gives: a TOML or JSON file, options, and defaults for the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.gathered import gathered
from cli.output import CliError, Exit, PathArgument

if TYPE_CHECKING:
    from ledger.mint_terms import MintTerms

TERMS_BYTES_MAX = 16_384
_PAYEE = re.compile(r"(0x[0-9a-fA-F]{40})(?:[=:]([0-9]{1,5}))?")
_WHOLE = re.compile(r"[0-9]{1,78}")

_NUMBERS = {
    "edition": "This token's number. Default: 1.",
    "editions": "How many there are. Default: 1.",
    "creator_share": "Of primary income, in basis points. Default: 7000.",
    "curator_share": "Default: 1500.",
    "collector_share": "The first collector's. Default: 1000.",
    "platform_share": "Default: 500.",
    "royalty": "ERC-2981's, of a resale, in basis points, 1500 to 2500. Default: 2000.",
    "resale_share": "The curator's, of what --resale-basis says. Default: 3000.",
    "co_creation_share": "The holders', of works made with them. Default: 0.",
}
_ADDRESSES = {
    "minter": "Who mints, and owns it first.",
    "curator": "Default: nobody, and the share is the creator's.",
    "platform": "Default: nobody, and the share is the creator's.",
    "royalty_to": "Who gets the royalty. Default: the first payee.",
    "sale_asset": "ERC-20 contract that the first sale is paid in. Default: the chain's coin.",
}


def terms_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """All fields of the terms as options; they come as `given`, only those that were named."""

    def gather(options: dict[str, Any]) -> dict[str, Any]:
        names = (*_NUMBERS, *_ADDRESSES, "title", "payees", "sale_floor", "resale_basis")
        given = {name: options.pop(name) for name in names}
        return {"given": {name: value for name, value in given.items() if value not in (None, ())}}

    made = gathered(function, gather)
    for name, about in reversed(_NUMBERS.items()):
        made = click.option(f"--{name.replace('_', '-')}", name, type=click.IntRange(min=0), help=about)(made)
    made = click.option("--resale-basis", type=click.Choice(["gain", "gross"]), help="Default: gain.")(made)
    made = click.option("--sale-floor", metavar="AMOUNT", help="Least price of the first sale, in wei or the asset's"
                        " smallest unit. Default: 0.")(made)  # fmt: skip
    made = click.option("--payee", "payees", metavar="ADDRESS[=SHARE]", multiple=True, help="Who shares the creator's"
                        " part, how much, in basis points; repeatable. Default: the minter, all.")(made)  # fmt: skip
    for name, about in reversed(_ADDRESSES.items()):
        made = click.option(f"--{name.replace('_', '-')}", name, metavar="ADDRESS", help=about)(made)
    made = click.option("--title", metavar="TEXT", help="Default: the claim's.")(made)
    return click.option("--terms", "terms_path", metavar="FILE", type=PathArgument,
                        help="TOML or JSON with any of these fields; options go before.")(made)  # fmt: skip


def read_terms_file(path: Path | None) -> dict[str, Any]:
    """The fields of a terms file; their values are not checked yet. Raises: CliError."""
    if path is None:
        return {}
    import tomllib

    from cli.files import read_file
    from ledger.errors import MalformedTerms
    from ledger.strict_json import load_json

    data = read_file(path, TERMS_BYTES_MAX, "the terms")
    if path.suffix.lower() == ".json":
        try:
            found: object = load_json(data, "terms", TERMS_BYTES_MAX, MalformedTerms)
        except MalformedTerms as error:
            raise CliError(f"{path}: {error}", Exit.DATA) from error
    else:
        try:
            found = tomllib.loads(data.decode())
        except (ValueError, RecursionError) as error:
            raise CliError(
                f"{path} is not TOML: {error}; JSON is read from files that end with .json", Exit.DATA
            ) from error
    if not isinstance(found, dict):
        raise CliError(f"{path}: expected a table of the terms' fields", Exit.DATA)
    return found


def make_terms(fixed: Mapping[str, Any], given: Mapping[str, Any], written: Mapping[str, Any]) -> MintTerms:
    """fixed: what follows from claim and chain. given: options. written: a file's fields.

    Raises: UsageError for options, CliError where file and claim contradict each other, MalformedTerms.
    """
    from ledger.mint_terms import MintTerms

    for name in fixed.keys() & written.keys() - {"title"}:
        if str(written[name]).lower() != str(fixed[name]).lower():
            raise CliError(f"the terms file has {name} = {written[name]}, expected {fixed[name]}", Exit.DATA)
    fields: dict[str, Any] = {"edition": 1, "editions": 1, "sale_floor": 0} | dict(fixed) | dict(written) | dict(given)
    for name in fixed.keys() - {"title"}:
        fields[name] = fixed[name]
    if "payees" in given:
        fields["payees"] = _payees(given["payees"])
    if "sale_floor" in given and not _WHOLE.fullmatch(given["sale_floor"]):
        raise click.UsageError(
            f"--sale-floor: expected a whole number of the smallest unit, got {given['sale_floor']!r}"
        )
    if "minter" not in fields:
        raise click.UsageError("--minter ADDRESS is needed: who mints the token, and owns it first")
    fields.setdefault("payees", [{"account": fields["minter"], "share": 10_000}])
    payees = fields["payees"]
    if isinstance(payees, list) and payees and isinstance(payees[0], dict):
        fields.setdefault("royalty_to", payees[0].get("account"))
    fields.setdefault("royalty", 2_000)
    return MintTerms.from_json(fields)


def _payees(given: tuple[str, ...]) -> list[dict[str, Any]]:
    found = []
    for text in given:
        match = _PAYEE.fullmatch(text)
        if match is None or (match[2] is None and len(given) > 1):
            raise click.UsageError(
                f"--payee {text!r}: expected ADDRESS=SHARE, such as 0x52908400098527886E0F7030069857D2E4169EE7=6000"
            )
        found.append({"account": match[1], "share": int(match[2] or 10_000)})
    return found
