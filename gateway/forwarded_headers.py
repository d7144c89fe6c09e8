"""Which headers of a client the gateway reads, and which headers a replica receives. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.http.heads import FieldNames, render_fields
from gateway.request_validation import COLD_START_TIMEOUT_HEADER

FORWARDED = ("x-correlation-id", "x-session-affinity", "accept")
CLIENT_FIELDS = FieldNames((*FORWARDED, "authorization", "x-request-id", COLD_START_TIMEOUT_HEADER))
REPLICA_FIELDS = FieldNames(("content-type",))


def render_replica_headers(request_id: str, client_headers: Mapping[str, str]) -> bytes:
    """Render the headers of a request to a replica.

    The request id allows comparing the replica's log with usage events. The API key is never forwarded. Compression is
    disabled because the gateway reads the bytes that it forwards.
    """
    own = f"content-type: application/json\r\naccept-encoding: identity\r\nx-request-id: {request_id}\r\n".encode(
        "ascii"
    )
    forwarded = [(name, client_headers[name]) for name in FORWARDED if name in client_headers]
    return own + render_fields(forwarded) if forwarded else own
