"""Content with which a request could make an engine fetch a URL, run code or connect to another process."""

import json

import pytest

from gateway.openai_errors import ErrorResponse
from gateway.request_validation import InferencePath, ValidatedBody, validate_body

PIXEL = "data:image/png;base64,iVBORw0KGgo="
URLS = [
    "http://169.254.169.254/latest/meta-data/",
    "https://kubernetes.default.svc/api",
    "HTTP://example.com/x.png",
    "file:///etc/passwd",
    "//example.com/x.png",
    "/etc/passwd",
    "ftp://example.com/x",
    "s3://bucket/x",
    " data:image/png;base64,AAAA",
    "ht\ntp://example.com",
    "gopher://localhost:6379/_FLUSHALL",
    "",
]


def chat(*parts: object) -> bytes:
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": list(parts)}]
    return json.dumps({"model": "m", "messages": messages}).encode()


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("kind", ["image_url", "video_url", "audio_url"])
def test_media_that_the_engine_would_fetch_is_refused(kind, url):
    for value in ({"url": url}, url):
        error = validate_body(InferencePath.CHAT, chat({"type": "text", "text": "see"}, {"type": kind, kind: value}))
        assert isinstance(error, ErrorResponse)
        assert (error.status, error.param) == (400, f"messages.[1].content.[1].{kind}")
        assert "data:" in error.message


URL = "https://example.com/x"
REFUSED_PARTS = {
    "audio with a URL": {"type": "input_audio", "input_audio": {"url": URL}},
    "audio with an address for data": {"type": "input_audio", "input_audio": {"data": URL, "format": "wav"}},
    "address broken over lines": {"type": "input_audio", "input_audio": {"data": " ht\ntps://example.com"}},
    "file": {"type": "file", "file": {"file_url": URL}},
    "file data with an address": {"type": "file", "file": {"file_data": "file:/etc/passwd"}},
    "kind and key differ": {"type": "text", "text": "x", "image_url": {"url": URL}},
    "without a kind": {"image_url": URL},
    "plain image": {"type": "image", "image": URL},
    "unknown kind": {"type": "hologram", "hologram": {"source": [{"where": URL}]}},
    "list of URLs": {"type": "image_url", "image_url": [PIXEL, URL]},
    "hidden behind a harmless name": {"type": "image_url", "image_url": {"detail": "low", "url": URL}},
    "unpickled": {"type": "image_embeds", "image_embeds": "gASV"},
    "unpickled without a kind": {"audio_embeds": "gASV"},
}


@pytest.mark.parametrize("part", REFUSED_PARTS.values(), ids=REFUSED_PARTS.keys())
def test_urls_and_unpickled_data_in_other_fields_are_refused(part):
    error = validate_body(InferencePath.CHAT, chat(part))
    assert isinstance(error, ErrorResponse)
    assert error.status == 400
    assert (error.param or "").startswith("messages.[1].content.[0]")


ACCEPTED_PARTS = {
    "text that holds an address": {"type": "text", "text": "Read https://example.com, file:///etc/passwd"},
    "image": {"type": "image_url", "image_url": {"url": PIXEL, "detail": "high"}},
    "image as text": {"type": "image_url", "image_url": PIXEL.upper().replace("DATA", "Data")},
    "audio": {"type": "input_audio", "input_audio": {"data": "//uQxAAAAAAAAAAA", "format": "mp3"}},
    "file": {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "file:a.pdf"}},
    "nulls": {"type": "text", "text": "x", "image_url": None, "audio_embeds": None},
    "plain": "https://example.com",
}


@pytest.mark.parametrize("part", ACCEPTED_PARTS.values(), ids=ACCEPTED_PARTS.keys())
def test_media_inside_the_request_is_accepted(part):
    assert isinstance(validate_body(InferencePath.CHAT, chat(part)), ValidatedBody)


def test_messages_are_checked_on_every_path():
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": URL}}]}]
    for path, name in ((InferencePath.COMPLETIONS, "prompt"), (InferencePath.EMBEDDINGS, "input")):
        body = json.dumps({"model": "m", name: "x", "messages": messages}).encode()
        assert isinstance(validate_body(path, body), ErrorResponse)


FIELDS = ["custom_logit_processor", "logits_processors", "chat_template", "lora_path", "prompt_embeds",
          "kv_transfer_params", "bootstrap_host"]  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_fields_that_contain_code_are_refused_by_name(name):
    for value in ("x", ["x"], {"x": 1}, ""):
        error = validate_body(
            InferencePath.COMPLETIONS, json.dumps({"model": "m", "prompt": "x", name: value}).encode()
        )
        assert isinstance(error, ErrorResponse)
        assert (error.status, error.param) == (400, name)
        assert f"`{name}`" in error.message
    nothing = json.dumps({"model": "m", "prompt": "x", name: None}).encode()
    assert isinstance(validate_body(InferencePath.COMPLETIONS, nothing), ValidatedBody)


def test_a_template_among_template_arguments_is_refused_and_other_arguments_are_accepted():
    fields = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    code = fields | {"chat_template_kwargs": {"chat_template": "{{ 1 }}"}}
    error = validate_body(InferencePath.CHAT, json.dumps(code).encode())
    assert isinstance(error, ErrorResponse)
    assert error.param == "chat_template_kwargs.chat_template"
    plain = fields | {"chat_template_kwargs": {"enable_thinking": False}}
    assert isinstance(validate_body(InferencePath.CHAT, json.dumps(plain).encode()), ValidatedBody)
