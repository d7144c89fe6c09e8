"""What a body must not make an engine do: fetch something, run code, or reach into another process. Pure.

Media come inside the request, as `data:` URLs or plain base64. Anything else in a content part that names a place would
be fetched from inside the cluster. A null is no value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gateway import openai
from gateway.openai import Refusal

# Engines compile or unpickle these, load files that they name, or connect to the hosts in them.
FIELDS = {
    "custom_logit_processor": "code is run from it",
    "logits_processors": "code is loaded by it",
    "chat_template": "it is a program that the engine runs",
    "lora_path": "it names files of the engine; adapters are called as `deployment:adapter`",
    "prompt_embeds": "it is unpickled",
    "kv_transfer_params": "the engine connects to hosts that it names",
    "bootstrap_host": "the engine connects to it",
    "bootstrap_port": "the engine connects to it",
    "bootstrap_room": "the engine connects by it",
}
NESTED = ("chat_template_kwargs", "extra_body")
TEXTS = {"text", "type", "role", "refusal", "reasoning", "thinking", "detail", "format", "filename", "name", "id"}
PLACES = {"url", "uri", "path", "image", "video", "audio", "input_image", "file_url"}
UNPICKLED = {"image_embeds", "audio_embeds", "video_embeds"}
DATA = "data:"
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|file:|https?:|ftps?:", re.IGNORECASE)
BLANK = re.compile(r"[\x00-\x20]+")


def refusal_of(fields: Mapping[str, Any]) -> Refusal | None:
    """Why a body is not for an engine."""
    for path, name in _named(fields):
        if name in FIELDS:
            return openai.malformed(f"`{path}` is not accepted: {FIELDS[name]}. Remove it.", path)
    return _refusal_of_messages(fields.get("messages"))


def _named(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        if value is None:
            continue
        yield prefix + name, name
        if name in NESTED and isinstance(value, dict):
            yield from _named(value, f"{prefix}{name}.")


def _refusal_of_messages(messages: Any) -> Refusal | None:
    for index, message in enumerate(messages if isinstance(messages, list) else []):
        content = message.get("content") if isinstance(message, dict) else None
        parts = content if isinstance(content, list) else [content]
        for place, part in enumerate(parts):
            where = f"messages.[{index}].content.[{place}]"
            if isinstance(part, dict) and (refusal := _refusal_of_part(part, where)):
                return refusal
    return None


def _refusal_of_part(part: Mapping[str, Any], where: str) -> Refusal | None:
    names = [name for name, value in part.items() if value is not None]
    if found := UNPICKLED.intersection([*names, str(part.get("type"))]):
        return openai.malformed(f"Content parts of the kind `{min(found)}` are not accepted. Send the media.", where)
    for name in names:
        if name not in TEXTS and any(_is_place(*found) for found in _leaves(name, part[name])):
            return openai.malformed(
                f"`{name}` in a content part must hold its data: the engine fetches nothing. Send a `data:` URL, "
                "for example `data:image/png;base64,…`, instead of an address or a path.",
                f"{where}.{name}",
            )
    return None


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Each text inside `value`, with the name under which it stands."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(key, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(name, inner)


def _is_place(name: str, text: str) -> bool:
    """Whether an engine could take the text for something to fetch. What must be a URL must be `data:`."""
    if name in PLACES or name.endswith("_url"):
        return text[: len(DATA)].lower() != DATA
    return name not in TEXTS and ADDRESS.match(BLANK.sub("", text[:64])) is not None
