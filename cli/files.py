"""Reading and writing whole files for the verbs: bounded, atomic, never over something that is not ours."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cli.output import CliError, Exit

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from node.chain_key import ChainKey


def read_file(path: Path, bytes_max: int, what: str) -> bytes:
    """The file's bytes. what: for the error, such as 'the genesis'. Raises: CliError."""
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise CliError(f"{what} {path} cannot be read: {error.strerror or error}", Exit.NO_INPUT) from error
    if len(data) > bytes_max:
        raise CliError(f"{what} {path} is over {bytes_max} bytes: is it the right file?", Exit.DATA)
    return data


def write_file(path: Path, data: bytes, *, mode: int = 0o644, replace: bool = False) -> None:
    """Writes all of `data` or nothing, by a rename. An existing file with other content needs `replace`.

    Raises: CliError.
    """
    try:
        if path.exists() and not replace and (not path.is_file() or path.read_bytes() != data):
            raise CliError(f"{path} exists with other content: --replace, or choose another name", Exit.CANNOT_CREATE)
        descriptor, draft = tempfile.mkstemp(prefix=f".{path.name[:64]}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            Path(draft).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(draft).unlink()
            raise
    except OSError as error:
        raise CliError(f"{path} cannot be written: {error.strerror or error}", Exit.CANNOT_CREATE) from error


def load_key(path: Path) -> Ed25519PrivateKey:
    """A private key that only its owner can read. Raises: CliError."""
    from node.keys import KeyFileError, load_private_key

    try:
        return load_private_key(path)
    except KeyFileError as error:
        raise CliError(str(error), Exit.FORBIDDEN if path.exists() else Exit.NO_INPUT) from error


def load_any_key(path: Path) -> Ed25519PrivateKey | ChainKey:
    """A member's private key of either kind. Raises: CliError."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from node.chain_key import load_chain_key
    from node.keys import KeyFileError, load_key, load_private_key

    try:
        is_chain = isinstance(load_key(path, "an Ed25519 or secp256k1 key"), EllipticCurvePrivateKey)
        return load_chain_key(path) if is_chain else load_private_key(path)
    except KeyFileError as error:
        raise CliError(str(error), Exit.FORBIDDEN if path.exists() else Exit.NO_INPUT) from error
