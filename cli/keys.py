"""`stretto key`: private keys as files, Ed25519 in PKCS#8 PEM, for their owner alone."""

from __future__ import annotations

from pathlib import Path

import click

from cli.output import CliError, Exit, PathArgument, json_option, print_json, printable, say


@click.group("key")
def key_group() -> None:
    """Make a private key; show a key's public part.

    A key serves one purpose: make one for each.
    """


@key_group.command("new")
@click.argument("path", metavar="FILE", type=PathArgument)
@json_option
def new_command(path: Path, as_json: bool) -> None:
    """Make a new Ed25519 key in FILE (mode 0600). An existing file is never overwritten.

    \b
    Example:
      stretto key new statement.pem
    """
    from node.keys import KeyFileError, generate_private_key, public_bytes

    try:
        key = generate_private_key(path)
    except KeyFileError as error:
        raise CliError(str(error), Exit.CANNOT_CREATE) from error
    _show(path, public_bytes(key), as_json=as_json)


@key_group.command("show")
@click.argument("path", metavar="FILE", type=PathArgument)
@json_option
def show_command(path: Path, as_json: bool) -> None:
    """The public part of the private key in FILE, as a genesis lists it.

    \b
    Example:
      stretto key show statement.pem
    """
    from cli.files import load_key
    from node.keys import public_bytes

    _show(path, public_bytes(load_key(path)), as_json=as_json)


def _show(path: Path, public: bytes, *, as_json: bool) -> None:
    from ledger.genesis import key_id

    if as_json:
        print_json({"ok": True, "file": str(path), "public_key": public.hex(), "key_id": key_id(public).hex()})
    else:
        say(f"{printable(path)}\n  public key  {public.hex()}\n  key id      {key_id(public).hex()}")
