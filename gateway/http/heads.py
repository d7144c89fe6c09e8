"""Heads of HTTP/1.1 messages: one strict parser for requests and one for responses. Pure.

What RFC 9112 leaves to the recipient is refused: line folding, bare CR or LF, a repeated or odd Content-Length, any
transfer coding but `chunked`, both of the two, no Host or several. llhttp is stricter in nothing: the tests compare the
two on mutated requests. Header names are compared in lower case; only the headers in `FieldNames` are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

HEAD_END = b"\r\n\r\n"
MAX_HEAD_BYTES = 64 * 1024
MAX_FIELDS = 200
MAX_LENGTH_DIGITS = 18
CHUNKED = -1  # the body length of a chunked message
MAX_REPEATED_HEAD_BYTES = 4096

METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
FRAMING = ("host", "content-length", "transfer-encoding", "connection", "expect")
SINGLE = {"host", "content-length", "transfer-encoding"}  # a second one makes the length or target of a message unclear
# Frequent headers that are not kept; they only save the check of their name.
IGNORED = (
    "accept", "accept-encoding", "accept-language", "cache-control", "content-type", "cookie", "date", "origin",
    "referer", "server", "traceparent", "tracestate", "user-agent", "x-forwarded-for", "x-forwarded-proto",
    "x-real-ip", "x-stainless-arch", "x-stainless-async", "x-stainless-lang", "x-stainless-os",
    "x-stainless-package-version", "x-stainless-read-timeout", "x-stainless-retry-count", "x-stainless-runtime",
    "x-stainless-runtime-version", "x-stainless-timeout", "idempotency-key",
)  # fmt: skip

_TEXT = bytes(byte for byte in range(256) if byte >= 0x20 and byte != 0x7F) + b"\t"
_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TARGET = bytes(byte for byte in range(0x21, 0x7F) if byte != ord("#"))
_HOST = b"!$%&'()*+,-.:;=[]_~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CONTROLS = [b"\r\n" * count for count in range(MAX_FIELDS + 1)]


@dataclass(frozen=True)
class Refusal:
    """Why a message is not accepted, as an HTTP status and a sentence for the sender."""

    status: int
    message: str


TOO_LONG = Refusal(431, f"The request head is larger than {MAX_HEAD_BYTES} bytes.")


class FieldNames(dict[bytes, str]):
    """Header name as sent → its name in lower case if it is kept, else an empty string.

    Contains frequent spellings only, so its size does not depend on what is sent.
    """

    def __init__(self, kept: Iterable[str]) -> None:
        super().__init__()
        self.kept = frozenset((*kept, *FRAMING))
        for name in (*IGNORED, *self.kept):
            role = name if name in self.kept else ""
            self[name.encode()] = self[name.title().encode()] = role


class RequestHead:
    """`path` is percent-decoded, `query` is not. `body_length` is in bytes, or CHUNKED.

    `fields` has the kept headers without Content-Length.

    `closes` tells that the connection ends with the response, `is_old` that the client speaks HTTP/1.0.
    """

    __slots__ = ("body_length", "closes", "expects_continue", "fields", "is_old", "method", "path", "query")

    def __init__(
        self,
        method: str,
        path: str,
        query: str,
        fields: dict[str, str],
        body_length: int,
        closes: bool,
        is_old: bool,
        expects_continue: bool,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.fields = fields
        self.body_length = body_length
        self.closes = closes
        self.is_old = is_old
        self.expects_continue = expects_continue


class ResponseHead:
    """`body_length` is in bytes, CHUNKED, or None if the body ends with the connection."""

    __slots__ = ("body_length", "closes", "fields", "status")

    def __init__(self, status: int, fields: dict[str, str], body_length: int | None, closes: bool) -> None:
        self.status = status
        self.fields = fields
        self.body_length = body_length
        self.closes = closes


class RequestHeadParser:
    """Parses the request heads of one connection.

    Clients repeat their head from request to request but for the digits of Content-Length. Such a head is recognised by
    its bytes before and after these digits and is not parsed again.
    """

    __slots__ = ("_after", "_before", "_last", "_names")

    def __init__(self, names: FieldNames) -> None:
        self._names = names
        self._last: RequestHead | None = None
        self._before = self._after = b""

    def parse(self, head: bytes) -> RequestHead | Refusal:
        """Parse a head without the empty line at its end."""
        last = self._last
        if last is not None and head.startswith(self._before) and head.endswith(self._after):
            digits = head[len(self._before) : len(head) - len(self._after)]
            if digits.isdigit() and len(digits) <= MAX_LENGTH_DIGITS:
                length = int(digits)
                if length == last.body_length:
                    return last
                return RequestHead(last.method, last.path, last.query, last.fields, length, False, False, False)
        parsed = parse_request_head(head, self._names)
        if isinstance(parsed, RequestHead):
            is_plain = not (parsed.closes or parsed.is_old or parsed.expects_continue)
            parts = _split_at_length(head) if is_plain else None
            self._last = parsed if parts else None
            if parts:
                self._before, self._after = parts
        return parsed


class ResponseHeadParser:
    """Parses the response heads of one connection, which repeat within a second as those of requests do."""

    __slots__ = ("_after", "_before", "_last", "_names")

    def __init__(self, names: FieldNames) -> None:
        self._names = names
        self._last: ResponseHead | None = None
        self._before = self._after = b""

    def parse(self, head: bytes) -> ResponseHead | Refusal:
        """Parse a head without the empty line at its end."""
        last = self._last
        if last is not None and head.startswith(self._before) and head.endswith(self._after):
            digits = head[len(self._before) : len(head) - len(self._after)]
            if digits.isdigit() and len(digits) <= MAX_LENGTH_DIGITS:
                length = int(digits)
                return last if length == last.body_length else ResponseHead(last.status, last.fields, length, False)
        parsed = parse_response_head(head, self._names)
        if isinstance(parsed, ResponseHead):
            parts = _split_at_length(head) if parsed.status == 200 and not parsed.closes else None
            self._last = parsed if parts else None
            if parts:
                self._before, self._after = parts
        return parsed


def _split_at_length(head: bytes) -> tuple[bytes, bytes] | None:
    """Split a valid head before and after the digits of Content-Length; None without them, or if the head is long."""
    start = head.lower().find(b"\r\ncontent-length:") + len(b"\r\ncontent-length:")
    if start < len(b"\r\ncontent-length:") or len(head) > MAX_REPEATED_HEAD_BYTES:
        return None
    start += head[start : start + 1] == b" "
    end = head.find(b"\r\n", start)
    end = len(head) if end < 0 else end
    return (head[:start], head[end:]) if head[start:end].isdigit() else None


def parse_request_head(head: bytes, names: FieldNames) -> RequestHead | Refusal:
    """Parse a head without the empty line at its end."""
    lines = head.split(b"\r\n")
    start = lines[0].split(b" ")
    if len(start) != 3:
        return Refusal(400, "The request line must be a method, a target and a version, separated by single spaces.")
    method = METHODS.get(start[0])
    if method is None:
        return Refusal(400, "The request method is unknown.")
    version = start[2]
    if version != b"HTTP/1.1" and version != b"HTTP/1.0":
        is_version = len(version) == 8 and version.startswith(b"HTTP/") and version[5:6].isdigit()
        return Refusal(505 if is_version else 400, "The version must be HTTP/1.1 or HTTP/1.0.")
    fields = parse_fields(lines, head, names)
    if isinstance(fields, Refusal):
        return fields
    is_old = version == b"HTTP/1.0"
    host = fields.get("host")
    if host is None and not is_old:
        return Refusal(400, "The header Host is missing.")
    if host is not None and (not host or host.encode("latin-1").translate(None, _HOST)):
        return Refusal(400, "The header Host is not a host name.")
    target = start[1] if start[1].startswith(b"/") else _find_origin_form(start[1], method, host)
    if not target or target.translate(None, _TARGET):
        return Refusal(400, "The request target must be a path of this server.")
    length = _find_request_length(fields, is_old)
    if isinstance(length, Refusal):
        return length
    expectation = fields.get("expect", "").lower()
    if expectation not in ("", "100-continue"):
        return Refusal(417, "The header Expect must be 100-continue.")
    path, _, query = target.decode("ascii").partition("?")
    closes = is_old or has_close_option(fields)
    return RequestHead(
        method, unquote(path) if "%" in path else path, query, fields, length, closes, is_old, expectation != ""
    )


def _find_origin_form(target: bytes, method: str, host: str | None) -> bytes:
    """Return the path of a target that is a whole URL of this host, or `*` of OPTIONS; empty if it is neither."""
    if target == b"*" and method == "OPTIONS":
        return target
    scheme, separator, rest = target.partition(b"://")
    authority, slash, path = rest.partition(b"/")
    is_own = separator and scheme.lower() in (b"http", b"https") and host is not None
    return slash + path if is_own and authority.decode("latin-1").lower() == str(host).lower() else b""


def _find_request_length(fields: dict[str, str], is_old: bool) -> int | Refusal:
    length, coding = fields.pop("content-length", None), fields.get("transfer-encoding")
    if coding is None:
        if length is None:
            return 0
        # str.isdigit accepts digits of other scripts, and so does int().
        if not (length.isascii() and length.isdigit()) or len(length) > MAX_LENGTH_DIGITS:
            return Refusal(400, "The header Content-Length must be one number.")
        return int(length)
    if length is not None:
        return Refusal(400, "Content-Length and Transfer-Encoding exclude each other.")
    if is_old:
        return Refusal(400, "HTTP/1.0 has no Transfer-Encoding.")
    if coding.lower() != "chunked":
        return Refusal(501, "The only Transfer-Encoding that is understood is `chunked`.")
    return CHUNKED


def parse_response_head(head: bytes, names: FieldNames) -> ResponseHead | Refusal:
    """Parse the head of a response to POST without the empty line at its end. Informational ones (1xx) have no body."""
    lines = head.split(b"\r\n")
    start = lines[0]
    version, digits, separator = start[:8], start[9:12], start[8:9] + start[12:13]
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or separator not in (b"  ", b" ") or not digits.isdigit():
        return Refusal(502, "The status line is malformed.")
    status = int(digits)
    if len(digits) != 3 or not 100 <= status <= 599:
        return Refusal(502, "The status is not a status of HTTP.")
    fields = parse_fields(lines, head, names)
    if isinstance(fields, Refusal):
        return fields
    closes = version == b"HTTP/1.0" or has_close_option(fields)
    length, coding = fields.pop("content-length", None), fields.get("transfer-encoding")
    if length is not None and coding is not None:
        return Refusal(502, "Content-Length and Transfer-Encoding exclude each other.")
    if status < 200 or status in (204, 304):
        return ResponseHead(status, fields, 0, closes)
    if coding is not None:
        if coding.lower() != "chunked" or version == b"HTTP/1.0":
            return Refusal(502, "The only Transfer-Encoding that is understood is `chunked`.")
        return ResponseHead(status, fields, CHUNKED, closes)
    if length is None:
        return ResponseHead(status, fields, None, True)
    if not (length.isascii() and length.isdigit()) or len(length) > MAX_LENGTH_DIGITS:
        return Refusal(502, "The header Content-Length must be one number.")
    return ResponseHead(status, fields, int(length), closes)


def parse_fields(lines: list[bytes], block: bytes, names: FieldNames) -> dict[str, str] | Refusal:
    """Parse the header lines after the first of `lines`, which are `block` split at CRLF.

    The first of several headers with the same name is kept, except that the options of `connection` are joined.
    """
    count = len(lines) - 1
    if count > MAX_FIELDS:
        return Refusal(431, f"The request head has more than {MAX_FIELDS} headers.")
    # All control characters but tab are left; they must be the ends of lines and nothing else.
    if block.translate(None, _TEXT) != _CONTROLS[count]:
        return Refusal(400, "The head contains a control character, or a line that does not end with CR LF.")
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        role = names.get(name)
        if role is None:
            if not name or name.translate(None, _TOKEN):
                return Refusal(400, "A header line is malformed.")
            lower = name.lower().decode("ascii")
            role = lower if lower in names.kept else ""
        if not colon:
            return Refusal(400, "A header line is malformed.")
        if role:
            if role not in fields:
                # llhttp refuses a tab beside the transfer coding, where the tab stays and makes it an unknown one.
                blanks = b" " if role == "transfer-encoding" else b" \t"
                fields[role] = value.strip(blanks).decode("latin-1")
            elif role in SINGLE:
                return Refusal(400, f"The header {role} occurs more than once.")
            elif role == "connection":
                fields[role] += "," + value.strip(b" \t").decode("latin-1")
    return fields


def has_close_option(fields: dict[str, str]) -> bool:
    """Whether the header Connection says that the connection ends with this message."""
    options = fields.get("connection")
    if options is None or options == "keep-alive":
        return False
    return "close" in [option.strip(" \t").lower() for option in options.split(",")]


def render_fields(fields: Iterable[tuple[str, str]]) -> bytes:
    """Render header lines, each with CR LF. Control characters are removed, so that no value can add a line."""
    lines = [f"{name}: {value}".encode("latin-1", "replace").translate(None, _LINE_BREAKERS) for name, value in fields]
    return b"".join([line + b"\r\n" for line in lines])


_LINE_BREAKERS = bytes(byte for byte in range(256) if byte not in _TEXT)
