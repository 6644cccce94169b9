"""`stretto key`: private keys as files, PKCS#8 PEM, for their owner alone: Ed25519, and secp256k1 for public chains."""

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
@click.option("--chain", "is_chain", is_flag=True, help="A secp256k1 key, which signs checkpoints for public chains.")
@json_option
def new_command(*, path: Path, is_chain: bool, as_json: bool) -> None:
    """Make a new key in FILE (mode 0600): Ed25519, or secp256k1 with --chain. No existing file is overwritten.

    \b
    Example:
      stretto key new statement.pem
      stretto key new --chain keys/chain.next.pem
    """
    from node.chain_key import generate_chain_key
    from node.keys import KeyFileError, generate_private_key, public_bytes

    try:
        if is_chain:
            chain = generate_chain_key(path)
            _show(path, chain.public, chain.address, b"", as_json=as_json)
        else:
            _show(path, public_bytes(generate_private_key(path)), b"", b"", as_json=as_json)
    except KeyFileError as error:
        raise CliError(str(error), Exit.CANNOT_CREATE) from error


@key_group.command("show")
@click.argument("path", metavar="FILE", type=PathArgument)
@click.option("--prove", "member_id", metavar="MEMBER", help="Of a chain key: also the proof that MEMBER has it.")
@json_option
def show_command(*, path: Path, member_id: str | None, as_json: bool) -> None:
    """The public part of the private key in FILE, as a genesis lists it; of a chain key its address too.

    \b
    Example:
      stretto key show statement.pem
      stretto key show keys/chain.next.pem --prove court
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from cli.files import load_any_key
    from ledger.member import MEMBER_ID
    from node.keys import public_bytes

    if member_id is not None and not MEMBER_ID.fullmatch(member_id):
        raise click.UsageError(f"--prove {member_id!r}: expected a member's id: a-z, 0-9 and inner hyphens, at most 32")
    key = load_any_key(path)
    if not isinstance(key, Ed25519PrivateKey):
        _show(path, key.public, key.address, key.prove(member_id) if member_id else b"", as_json=as_json)
    elif member_id is not None:
        raise click.UsageError(f"--prove is for a chain key: {path} holds an Ed25519 key")
    else:
        _show(path, public_bytes(key), b"", b"", as_json=as_json)


def _show(path: Path, public: bytes, address: bytes, proof: bytes, *, as_json: bool) -> None:
    """address: of a chain key; then it has no key id."""
    from ledger.genesis import key_id

    told = {"public key": public.hex()}
    told |= {"address": f"0x{address.hex()}"} if address else {"key id": key_id(public).hex()}
    told |= {"proof": proof.hex()} if proof else {}
    if as_json:
        print_json({"ok": True, "file": str(path)} | {name.replace(" ", "_"): value for name, value in told.items()})
    else:
        say("\n".join([printable(path), *(f"  {name:<10}  {value}" for name, value in told.items())]))
