"""Metadata from DDEX: a NewReleaseMessage of ERN 4.2, 4.3, 4.3.1 or 4.3.2, read element by element.

Each edition of a SoundRecording becomes a row, one for each file, in the columns of the CSV: a message is checked
as a spreadsheet is. Source: DDEX release-notification.xsd of these versions. Deals are passed over.

The XML is read by defusedxml: a document type, an entity or a reference to somewhere else ends the reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from catalog.metadata.ern_recording import Party, Release, rows_of_recording, texts
from catalog.metadata.findings import Findings
from catalog.metadata.rows import MalformedMetadata, Row

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MESSAGE_BYTES_MAX: Final = 64 << 20
DEPTH_MAX: Final = 32
RECORDINGS_MAX: Final = 100_000

_NAMESPACE: Final = "http://ddex.net/xml/ern/"
_VERSIONS: Final = {"42": "4.2", "43": "4.3", "431": "4.3.1", "432": "4.3.2"}


@dataclass(slots=True)
class _Message:
    """What of a message is kept until its releases are known, which come last."""

    parties: dict[str, Party] = field(default_factory=dict)
    recordings: list[Element] = field(default_factory=list)
    releases: dict[str, Release] = field(default_factory=dict)
    """By the reference of each resource in their track lists."""


def read_ern(path: Path, findings: Findings) -> Iterator[Row]:
    """A row for each file of each sound recording. Raises: MalformedMetadata, OSError."""
    if (size := path.stat().st_size) > MESSAGE_BYTES_MAX:
        raise MalformedMetadata(path, 0, f"expected a message of at most {MESSAGE_BYTES_MAX} bytes, got {size}")
    with path.open("rb") as file:
        message = _read(file, path)
    for recording in message.recordings:
        yield from rows_of_recording(recording, message.parties, message.releases, path.name, findings)


def _read(file: BinaryIO, path: Path) -> _Message:
    message = _Message()
    stack: list[Element] = []
    for event, element in _events(file, path):
        if event == "start":
            if not stack:
                _check_root(element, path)
            stack.append(element)
            if len(stack) > DEPTH_MAX:
                raise MalformedMetadata(path, 0, f"expected at most {DEPTH_MAX} elements inside each other")
            continue
        stack.pop()
        element.tag = _local(element)
        if len(stack) == 2:  # inside a list of the message: an item is complete
            _keep(element, _local(stack[1]), message, path)
            stack[1].remove(element)
    return message


def _events(file: BinaryIO, path: Path) -> Iterator[tuple[str, Element]]:
    """Starts and ends of elements. Raises: MalformedMetadata."""
    from xml.etree.ElementTree import ParseError  # noqa: PLC0415  the error only; defusedxml does the parsing

    from defusedxml import DefusedXmlException  # noqa: PLC0415
    from defusedxml.ElementTree import iterparse  # noqa: PLC0415

    events = iterparse(file, events=("start", "end"), forbid_dtd=True)
    while True:
        try:
            event = next(events, None)
        except ParseError as error:
            line = error.position[0] if error.position else 0
            raise MalformedMetadata(path, line, f"expected well-formed XML: {error}") from error
        except DefusedXmlException as error:
            problem = f"expected XML without a document type, entities or external references ({type(error).__name__})"
            raise MalformedMetadata(path, 0, problem) from error
        except (LookupError, ValueError) as error:  # an encoding that nobody knows, or that takes several bytes
            raise MalformedMetadata(path, 1, f"expected XML in UTF-8: {error}") from error
        if event is None:
            return
        yield event


def _check_root(root: Element, path: Path) -> None:
    namespace, _, name = root.tag.removeprefix("{").rpartition("}")
    version = namespace.removeprefix(_NAMESPACE) if namespace.startswith(_NAMESPACE) else ""
    if name != "NewReleaseMessage" or version not in _VERSIONS:
        known = ", ".join(_VERSIONS.values())
        problem = (
            f"expected a NewReleaseMessage of DDEX ERN {known}, got {name[:40]} in {namespace[:80] or 'no namespace'}"
        )
        raise MalformedMetadata(path, 0, problem)


def _keep(element: Element, parent: str, message: _Message, path: Path) -> None:
    match parent, element.tag:
        case "PartyList", "Party":
            if reference := element.findtext("PartyReference"):
                message.parties[reference.strip()] = Party.of(element)
        case "ResourceList", "SoundRecording":
            if len(message.recordings) == RECORDINGS_MAX:
                raise MalformedMetadata(path, 0, f"expected at most {RECORDINGS_MAX} sound recordings")
            message.recordings.append(element)
        case "ReleaseList", "Release":
            release = Release.of(element)
            for reference in texts(element, "ReleaseResourceReference", anywhere=True):
                # The main release comes first (R0); what else holds the resource is another release of it.
                message.releases.setdefault(reference, release)


def _local(element: Element) -> str:
    """The element's name without its namespace: some senders qualify every element, most the root alone."""
    return element.tag.rpartition("}")[2]
