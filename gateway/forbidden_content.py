"""Finds content with which a request could make an engine fetch a URL, run code or connect to another process. Pure.

Media must be part of the request, as `data:` URLs or plain base64: an engine would fetch any other URL or path from
inside the cluster. Members with the value null are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gateway import openai_errors
from gateway.openai_errors import ErrorResponse

# Engines compile or unpickle the values of these fields, load files that they name, or connect to their hosts.
FORBIDDEN_FIELDS = {
    "custom_logit_processor": "the engine executes code from it",
    "logits_processors": "the engine loads code that it names",
    "chat_template": "it is a program that the engine executes",
    "lora_path": "it names files of the engine; adapters are called as `deployment:adapter`",
    "prompt_embeds": "the engine unpickles it",
    "kv_transfer_params": "the engine connects to hosts that it names",
    "bootstrap_host": "the engine connects to it",
    "bootstrap_port": "the engine connects to it",
    "bootstrap_room": "the engine uses it to connect to another process",
}
NESTED_OBJECTS = ("chat_template_kwargs", "extra_body")
TEXT_FIELDS = {"text", "type", "role", "refusal", "reasoning", "thinking", "detail", "format", "filename", "name", "id"}
URL_FIELDS = {"url", "uri", "path", "image", "video", "audio", "input_image", "file_url"}
UNPICKLED_PARTS = {"image_embeds", "audio_embeds", "video_embeds"}
DATA_SCHEME = "data:"
URL = re.compile(r"[a-z][a-z0-9+.-]*://|file:|https?:|ftps?:", re.IGNORECASE)
WHITESPACE = re.compile(r"[\x00-\x20]+")


def find_forbidden_content(fields: Mapping[str, Any]) -> ErrorResponse | None:
    """Return the error for the first forbidden field or content part of a request body, None if there is none."""
    for path, name in _iterate_fields(fields):
        if name in FORBIDDEN_FIELDS:
            return openai_errors.invalid_request(
                f"`{path}` is not accepted: {FORBIDDEN_FIELDS[name]}. Remove it.", path
            )
    messages = fields.get("messages")
    for message_index, message in enumerate(messages if isinstance(messages, list) else []):
        content = message.get("content") if isinstance(message, dict) else None
        for part_index, part in enumerate(content if isinstance(content, list) else [content]):
            path = f"messages.[{message_index}].content.[{part_index}]"
            if isinstance(part, dict) and (error := _check_content_part(part, path)):
                return error
    return None


def _iterate_fields(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path, name) of the fields that are not null, including those of nested argument objects."""
    for name, value in fields.items():
        if value is None:
            continue
        yield prefix + name, name
        if name in NESTED_OBJECTS and isinstance(value, dict):
            yield from _iterate_fields(value, f"{prefix}{name}.")


def _check_content_part(part: Mapping[str, Any], path: str) -> ErrorResponse | None:
    names = [name for name, value in part.items() if value is not None]
    if unpickled := UNPICKLED_PARTS.intersection([*names, str(part.get("type"))]):
        return openai_errors.invalid_request(
            f"Content parts of the kind `{min(unpickled)}` are not accepted. Send the media.", path
        )
    for name in names:
        if name not in TEXT_FIELDS and any(_is_fetched(*text) for text in _iterate_texts(name, part[name])):
            return openai_errors.invalid_request(
                f"`{name}` in a content part must hold its data: the engine fetches nothing. Send a `data:` URL, "
                "for example `data:image/png;base64,…`, instead of an address or a path.",
                f"{path}.{name}",
            )
    return None


def _iterate_texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield (name of its field, text) for each text inside `value`."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _iterate_texts(key, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _iterate_texts(name, inner)


def _is_fetched(name: str, text: str) -> bool:
    """Whether an engine could fetch the text: any value of a URL field that is not a `data:` URL, a URL elsewhere."""
    if name in URL_FIELDS or name.endswith("_url"):
        return text[: len(DATA_SCHEME)].lower() != DATA_SCHEME
    # URL parsers ignore whitespace and control characters inside a URL.
    return name not in TEXT_FIELDS and URL.match(WHITESPACE.sub("", text[:64])) is not None
