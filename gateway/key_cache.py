"""A bounded cache of API keys, which are read from Redis when they are first used; unknown keys are remembered too.

What `mc:changes` announces is dropped and read again. While Redis lacks its keys, because it lost its data, keys that
were known before stay usable for KEEP_SECONDS; others can be neither accepted nor refused.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable

from gateway import contract
from gateway.contract import KeyRecord
from gateway.rate_limits import drop_invalid_limits
from gateway.store.client import Reply, StoreClient, StoreError, StoreUnavailable

log = logging.getLogger(__name__)
MAX_KEYS = MAX_UNKNOWN = 10_000
KEEP_SECONDS = 2 * contract.PUBLISH_SECONDS

# The record of a usable key, None for a key that does not exist, or why neither is known.
Found = KeyRecord | None | StoreError
OnFound = Callable[[Found], None]


class KeyCache:
    def __init__(self, client: StoreClient, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._client = client
        self._clock = clock
        self._known: OrderedDict[str, KeyRecord] = OrderedDict()
        self._unknown: OrderedDict[str, None] = OrderedDict()
        self._kept: dict[str, KeyRecord] = {}
        self._kept_until = float("-inf")
        # Callbacks of keys that are being read; a key in `_changed` changed meanwhile and is not remembered.
        self._reading: dict[str, list[OnFound]] = {}
        self._changed: set[str] = set()

    def find(self, key_hash: str, on_found: OnFound) -> None:
        """Give `on_found` the key with this hash: at once if it is remembered, else when Redis has answered."""
        if record := self._known.get(key_hash):
            self._known.move_to_end(key_hash)
            return on_found(record)
        if key_hash in self._unknown:
            self._unknown.move_to_end(key_hash)
            return on_found(None)
        callbacks = self._reading.setdefault(key_hash, [])
        callbacks.append(on_found)
        if len(callbacks) == 1:
            texts: list[Reply] = []
            self._client.call(("HGET", contract.KEYS, key_hash), texts.append)
            self._client.call(
                ("HEXISTS", contract.PUBLISHED, contract.KEYS_COMPLETE),
                lambda is_complete: self._handle(key_hash, texts[0] if texts else is_complete, is_complete),
            )

    def is_known(self, key_hash: str) -> bool:
        """Whether a key with this hash exists and is remembered."""
        return key_hash in self._known

    def forget(self, key_hash: str) -> None:
        """Read a key anew when it is used next, because it has changed."""
        self._known.pop(key_hash, None)
        self._unknown.pop(key_hash, None)
        self._kept.pop(key_hash, None)
        if key_hash in self._reading:
            self._changed.add(key_hash)

    def forget_all(self) -> None:
        """Read every key anew, because changes were missed."""
        self._kept, self._kept_until = dict(self._known), self._clock() + KEEP_SECONDS
        self._known.clear()
        self._unknown.clear()
        self._changed |= self._reading.keys()

    def _handle(self, key_hash: str, text: Reply, is_complete: Reply) -> None:
        callbacks = self._reading.pop(key_hash)
        found = self._parse(key_hash, text, is_complete)
        if key_hash in self._changed:
            self._changed.discard(key_hash)
        elif isinstance(found, KeyRecord) and text is not None:
            self._known[key_hash] = found
            if len(self._known) > MAX_KEYS:
                self._known.popitem(last=False)
        elif found is None:
            self._unknown[key_hash] = None
            if len(self._unknown) > MAX_UNKNOWN:
                self._unknown.popitem(last=False)
        for on_found in callbacks:
            try:
                on_found(found)
            except Exception:  # the others wait for the same key
                log.exception("A key that was looked up could not be used")

    def _parse(self, key_hash: str, text: Reply, is_complete: Reply) -> Found:
        if isinstance(text, StoreError):
            return text
        if isinstance(is_complete, StoreError):
            return is_complete
        if text is None and not is_complete:
            record = self._kept.get(key_hash) if self._clock() < self._kept_until else None
            return record or StoreUnavailable("The keys are not published yet.")
        if text is None:
            return None
        try:
            return drop_invalid_limits(KeyRecord.from_json(text))
        except (TypeError, ValueError, AttributeError) as error:
            log.error("An invalid published key is ignored: %s", error)
            return None
