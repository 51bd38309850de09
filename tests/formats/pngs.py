"""PNG files built chunk by chunk, with anything in them."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
Chunk = tuple[bytes, bytes]


def built(chunks: Sequence[Chunk]) -> bytes:
    """A file of these chunks, with right checksums."""
    return SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def chunks_of(content: bytes) -> list[Chunk]:
    """Name and content of each chunk of a file."""
    found, start = [], 8
    while start < len(content):
        (length,) = struct.unpack(">I", content[start : start + 4])
        found.append((content[start + 4 : start + 8], content[start + 8 : start + 8 + length]))
        start += 12 + length
    return found


def png(
    samples: NDArray, bits: int, colour: int, *, before: Sequence[Chunk] = (), after: Sequence[Chunk] = ()
) -> bytes:
    """A file of samples (rows, columns) or (rows, columns, samples a pixel), unfiltered.

    Args:
        samples: as they are to be stored.
        bits: of a sample.
        colour: the PNG's type of colour.
        before: chunks before the pixels.
        after: chunks behind them.
    """
    rows, columns = samples.shape[:2]
    header = struct.pack(">IIBBBBB", columns, rows, bits, colour, 0, 0, 0)
    data = b"".join(b"\0" + _packed(row.ravel(), bits) for row in samples)
    return built([(b"IHDR", header), *before, (b"IDAT", zlib.compress(data)), *after, (b"IEND", b"")])


def _packed(row: NDArray, bits: int) -> bytes:
    if bits >= 8:
        return row.astype(f">u{bits // 8}").tobytes()
    spread = (row[:, None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(spread.astype(np.uint8).ravel()).tobytes()
