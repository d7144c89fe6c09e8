"""What a body must not make an engine do: fetch, run code, reach into other processes."""

import json

import pytest

from gateway import admission
from gateway.admission import Call, Route
from gateway.openai import Refusal

PIXEL = "data:image/png;base64,iVBORw0KGgo="
PLACES = [
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


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["image_url", "video_url", "audio_url"])
def test_media_that_the_engine_would_fetch_are_refused(kind, place):
    for value in ({"url": place}, place):
        refusal = admission.parse(Route.CHAT, chat({"type": "text", "text": "see"}, {"type": kind, kind: value}))
        assert isinstance(refusal, Refusal)
        assert (refusal.status, refusal.param) == (400, f"messages.[1].content.[1].{kind}")
        assert "data:" in refusal.message


ADDRESS = "https://example.com/x"
PARTS = {
    "audio with a URL": {"type": "input_audio", "input_audio": {"url": ADDRESS}},
    "audio with an address for data": {"type": "input_audio", "input_audio": {"data": ADDRESS, "format": "wav"}},
    "address broken over lines": {"type": "input_audio", "input_audio": {"data": " ht\ntps://example.com"}},
    "file": {"type": "file", "file": {"file_url": ADDRESS}},
    "file data with an address": {"type": "file", "file": {"file_data": "file:/etc/passwd"}},
    "kind and key differ": {"type": "text", "text": "x", "image_url": {"url": ADDRESS}},
    "without a kind": {"image_url": ADDRESS},
    "plain image": {"type": "image", "image": ADDRESS},
    "unknown kind": {"type": "hologram", "hologram": {"source": [{"where": ADDRESS}]}},
    "list of URLs": {"type": "image_url", "image_url": [PIXEL, ADDRESS]},
    "hidden behind a harmless name": {"type": "image_url", "image_url": {"detail": "low", "url": ADDRESS}},
    "unpickled": {"type": "image_embeds", "image_embeds": "gASV"},
    "unpickled without a kind": {"audio_embeds": "gASV"},
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS.keys())
def test_other_ways_to_say_it_are_refused_too(part):
    refusal = admission.parse(Route.CHAT, chat(part))
    assert isinstance(refusal, Refusal)
    assert refusal.status == 400
    assert (refusal.param or "").startswith("messages.[1].content.[0]")


GOOD = {
    "text that holds an address": {"type": "text", "text": "Read https://example.com, file:///etc/passwd"},
    "image": {"type": "image_url", "image_url": {"url": PIXEL, "detail": "high"}},
    "image as text": {"type": "image_url", "image_url": PIXEL.upper().replace("DATA", "Data")},
    "audio": {"type": "input_audio", "input_audio": {"data": "//uQxAAAAAAAAAAA", "format": "mp3"}},
    "file": {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "file:a.pdf"}},
    "nulls": {"type": "text", "text": "x", "image_url": None, "audio_embeds": None},
    "plain": "https://example.com",
}


@pytest.mark.parametrize("part", GOOD.values(), ids=GOOD.keys())
def test_what_comes_inside_the_request_is_let_in(part):
    assert isinstance(admission.parse(Route.CHAT, chat(part)), Call)


def test_messages_are_looked_at_on_every_route():
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": ADDRESS}}]}]
    for route, name in ((Route.COMPLETIONS, "prompt"), (Route.EMBEDDINGS, "input")):
        body = json.dumps({"model": "m", name: "x", "messages": messages}).encode()
        assert isinstance(admission.parse(route, body), Refusal)


FIELDS = ["custom_logit_processor", "logits_processors", "chat_template", "lora_path", "prompt_embeds",
          "kv_transfer_params", "bootstrap_host"]  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_fields_that_carry_code_are_refused_by_name(name):
    for value in ("x", ["x"], {"x": 1}, ""):
        refusal = admission.parse(Route.COMPLETIONS, json.dumps({"model": "m", "prompt": "x", name: value}).encode())
        assert isinstance(refusal, Refusal)
        assert (refusal.status, refusal.param) == (400, name)
        assert f"`{name}`" in refusal.message
    nothing = json.dumps({"model": "m", "prompt": "x", name: None}).encode()
    assert isinstance(admission.parse(Route.COMPLETIONS, nothing), Call)


def test_a_template_is_refused_among_its_own_arguments_too_and_the_other_arguments_are_not():
    fields = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    code = fields | {"chat_template_kwargs": {"chat_template": "{{ 1 }}"}}
    refusal = admission.parse(Route.CHAT, json.dumps(code).encode())
    assert isinstance(refusal, Refusal)
    assert refusal.param == "chat_template_kwargs.chat_template"
    plain = fields | {"chat_template_kwargs": {"enable_thinking": False}}
    assert isinstance(admission.parse(Route.CHAT, json.dumps(plain).encode()), Call)
