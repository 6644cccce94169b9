"""Naming things on the command line: a digest in hexadecimal, or the file whose digest is meant."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from cli.files import read_file
from cli.output import CliError, Exit

_HEX = re.compile(r"[0-9a-fA-F]{64}")


def media_digest(given: str) -> bytes:
    """64 hexadecimal digits (BLAKE3 or SHA-256), or an audio file, whose BLAKE3 is taken. Raises: CliError."""
    if _HEX.fullmatch(given):
        return bytes.fromhex(given)
    from catalog.digests import hash_file
    from catalog.scan import LeftOut

    try:
        return hash_file(Path(given)).blake3
    except LeftOut as error:
        message = f"--digest {given}: expected 64 hexadecimal digits or a readable file ({error.reason})"
        raise CliError(message, Exit.NO_INPUT) from error


def statement_digest(given: str, what: str = "--statement") -> bytes:
    """64 hexadecimal digits, or a .stretto file, whose statement's SHA-256 is taken. what: for errors.

    Raises: CliError.
    """
    if _HEX.fullmatch(given):
        return bytes.fromhex(given)
    from catalog.submission import SUBMISSION_BYTES_MAX, parse_submission

    data = read_file(Path(given), SUBMISSION_BYTES_MAX, what)
    return hashlib.sha256(parse_submission(data).statement).digest()
