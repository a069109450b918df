"""XML that is not trusted, into a tree: no document type, no entities, bounded size and depth."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from data_adapters.errors import FormatError

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 64


def read_xml(path: Path, name: str) -> ElementTree.Element:
    """Read an XML file.

    Args:
        path: The file.
        name: What messages call it.

    Raises:
        FormatError: It is too large, no XML, nested too deeply, or declares a document type or
            entities, which can expand without end or read other files.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise FormatError(f"{name} has {size} bytes; the limit for XML is {MAX_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{name} cannot be read: {error.strerror}") from None
    return parse_xml(data, name)


def parse_xml(data: bytes, name: str) -> ElementTree.Element:
    """Parse XML text; see `read_xml`."""
    builder = ElementTree.TreeBuilder()
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise FormatError(f"{name} is nested more than {MAX_DEPTH} deep")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: object) -> None:
        raise FormatError(f"{name} declares a document type or entities, which are not read")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise FormatError(f"{name} is no valid XML in line {error.lineno}") from None
    except (ValueError, LookupError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{name} is in an encoding that is not read: save it as UTF-8") from None
    return builder.close()
