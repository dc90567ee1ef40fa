"""Messages between the server and the processes of its models: JSON and raw bytes, nothing that runs code."""

import json
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

HEAD = struct.Struct(">II")  # lengths of the JSON and of the list of blob sizes


class Message(NamedTuple):
    """A dict for JSON, and blobs such as the bytes of sound files."""

    fields: dict[str, Any]
    blobs: list[bytes]


def packed(fields: dict[str, Any], blobs: Sequence[bytes] = ()) -> bytes:
    """A message as bytes."""
    text = json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")
    sizes = struct.pack(f">{len(blobs)}I", *map(len, blobs))
    return b"".join([HEAD.pack(len(text), len(sizes)), sizes, text, *blobs])


def sizes_of(head: bytes) -> tuple[int, int]:
    """Lengths of the JSON and of the list of sizes, from the first `HEAD.size` bytes."""
    return HEAD.unpack(head)


def blob_sizes(sizes: bytes) -> list[int]:
    """Lengths of the blobs."""
    return list(struct.unpack(f">{len(sizes) // 4}I", sizes))


def fields_of(text: bytes) -> dict[str, Any]:
    """The dict of a message."""
    return json.loads(text.decode("utf-8", "surrogatepass"))


def read(file: Any) -> Message | None:
    """Reads a message from a binary file, or None at its end."""
    head = file.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    text, sizes = sizes_of(head)
    listed = file.read(sizes)
    if len(listed) < sizes:
        return None
    lengths = blob_sizes(listed)
    fields = file.read(text)
    blobs = [file.read(length) for length in lengths]
    if len(fields) < text or any(len(blob) < length for blob, length in zip(blobs, lengths, strict=True)):
        return None
    return Message(fields_of(fields), blobs)


async def read_async(reader: Any) -> Message:
    """Reads a message from an `asyncio.StreamReader`.

    Raises:
        asyncio.IncompleteReadError: if the other process has ended.
    """
    text, sizes = sizes_of(await reader.readexactly(HEAD.size))
    lengths = blob_sizes(await reader.readexactly(sizes))
    fields = fields_of(await reader.readexactly(text))
    return Message(fields, [await reader.readexactly(length) for length in lengths])
