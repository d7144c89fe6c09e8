"""The chunked transfer coding: a strict incremental decoder. Pure.

Chunk extensions are refused, because nobody sends them but those who probe parsers. Trailers are checked and dropped.
"""

from __future__ import annotations

from gateway.http.heads import FieldNames, Refusal, parse_fields

CRLF = b"\r\n"
MAX_SIZE_DIGITS = 12
MAX_TRAILER_BYTES = 8 * 1024
MAX_TINY_CHUNKS = 1024  # in one read; more must have MIN_CHUNK_BYTES each on average, with their framing
MIN_CHUNK_BYTES = 16
_HEX_DIGITS = b"0123456789abcdefABCDEF"
_TRAILERS = FieldNames(())
LAST_CHUNK = b"0\r\n\r\n"


class MalformedChunk(Exception):
    """The bytes are not in the chunked transfer coding; the message says why."""


def encode_chunk(data: bytes) -> bytes:
    """Encode data that is not empty as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class ChunkedBody:
    """Decodes one body. `has_ended` is set with its last chunk; `rest` are the bytes received after it.

    `refuses_tiny` refuses many tiny chunks in one read, which would take the time of all other connections.
    """

    __slots__ = ("_left", "_needs_crlf", "_pending", "_refuses_tiny", "has_ended", "rest")

    def __init__(self, *, refuses_tiny: bool = False) -> None:
        self._refuses_tiny = refuses_tiny
        self._left = 0  # bytes of the present chunk that are missing
        self._needs_crlf = False
        self._pending = b""  # an incomplete line, shorter than a size line or the trailers may be
        self.has_ended = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """Decode the next bytes of the message. Raises MalformedChunk."""
        if self._pending:
            data, self._pending = self._pending + data, b""
        parts = []
        position, size = 0, len(data)
        while True:
            if self._left:
                part = data[position : position + self._left]
                parts.append(part)
                position += len(part)
                self._left -= len(part)
                if self._left:
                    break
                self._needs_crlf = True
                if self._refuses_tiny and len(parts) > MAX_TINY_CHUNKS and position < len(parts) * MIN_CHUNK_BYTES:
                    raise MalformedChunk("The chunks are too small. Send larger ones.")
            if self._needs_crlf:
                end = data[position : position + 2]
                if end != CRLF:
                    if not CRLF.startswith(end):
                        raise MalformedChunk("A chunk is longer than its size.")
                    self._pending = end
                    break
                position += 2
                self._needs_crlf = False
            if position == size:
                break
            end_of_line = data.find(CRLF, position, position + MAX_SIZE_DIGITS + 2)
            if end_of_line < 0:
                self._pending = data[position:]
                if len(self._pending) > MAX_SIZE_DIGITS + 1 or self._pending.rstrip(b"\r").translate(None, _HEX_DIGITS):
                    raise MalformedChunk("The size of a chunk is malformed.")
                break
            digits = data[position:end_of_line]
            if not digits or digits.translate(None, _HEX_DIGITS):
                raise MalformedChunk("The size of a chunk is malformed.")
            self._left = int(digits, 16)
            if self._left == 0:
                self._read_trailers(data, position, end_of_line)
                break
            position = end_of_line + 2
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_trailers(self, data: bytes, position: int, end_of_line: int) -> None:
        """Read what follows the size of the last chunk, whose line ends at `end_of_line`."""
        if data.startswith(CRLF, end_of_line + 2):
            self.has_ended, self.rest = True, data[end_of_line + 4 :]
            return
        end = data.find(b"\r\n\r\n", end_of_line, end_of_line + MAX_TRAILER_BYTES)
        if end < 0:
            if len(data) - end_of_line > MAX_TRAILER_BYTES:
                raise MalformedChunk("The trailers are too long.")
            self._pending = data[position:]
            return
        block = data[position:end]
        framing = parse_fields(block.split(CRLF), block, _TRAILERS)
        if isinstance(framing, Refusal) or framing:
            raise MalformedChunk("The trailers are malformed, or contain headers that belong into the head.")
        self.has_ended, self.rest = True, data[end + 4 :]
