"""Finds content with which a request could make an engine fetch a URL, run code or connect to another process. Pure.

Media must be part of the request, as `data:` URLs or plain base64: an engine would fetch any other URL or path from
inside the cluster. Members with the value null are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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
SPECIAL_FIELDS = {*FORBIDDEN_FIELDS, *NESTED_OBJECTS}
TEXT_FIELDS = {"text", "type", "role", "refusal", "reasoning", "thinking", "detail", "format", "filename", "name", "id"}
URL_FIELDS = {"url", "uri", "path", "image", "video", "audio", "input_image", "file_url"}
UNPICKLED_PARTS = {"image_embeds", "audio_embeds", "video_embeds"}
DATA_SCHEME = "data:"
URL = re.compile(r"[a-z][a-z0-9+.-]*://|file:|https?:|ftps?:", re.IGNORECASE)
WHITESPACE = re.compile(r"[\x00-\x20]+")


def find_forbidden_content(fields: Mapping[str, Any]) -> ErrorResponse | None:
    """Return the error for the first forbidden field or content part of a request body, None if there is none."""
    if error := _check_fields(fields):
        return error
    messages = fields.get("messages")
    for message_index, message in enumerate(messages if isinstance(messages, list) else []):
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            continue
        for part_index, part in enumerate(content if isinstance(content, list) else [content]):
            if isinstance(part, dict):
                path = f"messages.[{message_index}].content.[{part_index}]"
                if error := _check_content_part(part, path):
                    return error
    return None


def _check_fields(fields: Mapping[str, Any]) -> ErrorResponse | None:
    """Return the error for the first forbidden field that is not null, including those of nested argument objects."""
    pending = [] if SPECIAL_FIELDS.isdisjoint(fields) else [("", fields)]
    while pending:
        prefix, members = pending.pop()
        for name, value in members.items():
            if name in FORBIDDEN_FIELDS and value is not None:
                path = prefix + name
                message = f"`{path}` is not accepted: {FORBIDDEN_FIELDS[name]}. Remove it."
                return openai_errors.invalid_request(message, path)
            if name in NESTED_OBJECTS and isinstance(value, dict):
                pending.append((f"{prefix}{name}.", value))
    return None


def _check_content_part(part: Mapping[str, Any], path: str) -> ErrorResponse | None:
    names = [name for name, value in part.items() if value is not None]
    if unpickled := UNPICKLED_PARTS.intersection([*names, str(part.get("type"))]):
        return openai_errors.invalid_request(
            f"Content parts of the kind `{min(unpickled)}` are not accepted. Send the media.", path
        )
    for name in names:
        if name not in TEXT_FIELDS and _contains_fetched_text(name, part[name]):
            return openai_errors.invalid_request(
                f"`{name}` in a content part must hold its data: the engine fetches nothing. Send a `data:` URL, "
                "for example `data:image/png;base64,…`, instead of an address or a path.",
                f"{path}.{name}",
            )
    return None


def _contains_fetched_text(name: str, value: Any) -> bool:
    """Whether an engine could fetch a text inside the value of the field `name`."""
    pending = [(name, value)]
    while pending:
        name, value = pending.pop()
        if isinstance(value, str):
            if _is_fetched(name, value):
                return True
        elif isinstance(value, dict):
            pending += value.items()
        elif isinstance(value, list):
            pending += [(name, item) for item in value]
    return False


def _is_fetched(name: str, text: str) -> bool:
    """Whether an engine could fetch the text: any value of a URL field that is not a `data:` URL, a URL elsewhere."""
    if name in URL_FIELDS or name.endswith("_url"):
        return text[: len(DATA_SCHEME)].lower() != DATA_SCHEME
    # URL parsers ignore whitespace and control characters inside a URL.
    return name not in TEXT_FIELDS and URL.match(WHITESPACE.sub("", text[:64])) is not None
