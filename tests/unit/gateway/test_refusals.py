"""Who is let in, to what, with which body; and every refusal in OpenAI's shape."""

import json

import pytest

from gateway import admission, contract, openai, router
from gateway.admission import Call, Route
from gateway.authenticate import authenticate
from gateway.contract import KeyRecord, RouteRecord
from gateway.openai import Refusal

NOW = 1000.0


def secret(letter: str) -> str:
    body = contract.KEY_PREFIX + letter * 30
    return body + contract.key_checksum(body)


def key(**changes: object) -> KeyRecord:
    return KeyRecord(**{"key_id": "k", "organization_id": "o", "organization_slug": "acme", "user_id": "u",
                        "scopes": ["inference"], **changes})  # fmt: skip


GOOD, OLD, READ = secret("a"), secret("b"), secret("c")
KEYS = {
    contract.key_hash(GOOD): key(expires_at=NOW + 1),
    contract.key_hash(OLD): key(expires_at=NOW),
    contract.key_hash(READ): key(scopes=["read"]),
}
CALLERS = {
    "good": (f"Bearer {GOOD}", "", None),
    "scheme in lower case": (f"bearer  {GOOD} ", "", None),
    "harmless query": (f"Bearer {GOOD}", "limit=5", None),
    "no header": (None, "", 401),
    "empty": ("Bearer ", "", 401),
    "basic": (f"Basic {GOOD}", "", 401),
    "unknown": (f"Bearer {secret('z')}", "", 401),
    "expired this moment": (f"Bearer {OLD}", "", 401),
    "wrong checksum": (f"Bearer {GOOD[:-1]}_", "", 401),
    "another product's": ("Bearer sk-123", "", 401),
    "scope": (f"Bearer {READ}", "", 403),
    "key in the query too": (f"Bearer {GOOD}", f"x={GOOD}", 401),
    "parameter for a key": (f"Bearer {GOOD}", "API_KEY=", 401),
}


@pytest.mark.parametrize(("header", "query", "status"), CALLERS.values(), ids=CALLERS.keys())
def test_who_may_call(header, query, status):
    found = authenticate(header, query, KEYS, NOW)
    assert (found.status if isinstance(found, Refusal) else None) == status
    if isinstance(found, Refusal):
        assert GOOD.encode() not in found.body()
        assert ("www-authenticate" in found.headers()) == (status == 401)


def test_a_key_with_a_wrong_checksum_is_not_even_looked_up():
    broken = "mc_" + "a" * 36
    assert isinstance(authenticate(f"Bearer {broken}", "", {contract.key_hash(broken): key()}, NOW), Refusal)


def deployment(name: str, organization_id: str = "o", state: str = "open") -> RouteRecord:
    id_, adapters = f"id-{name}", ["law", "v1.0"]
    return RouteRecord(id_, organization_id, "acme", name, state, 1.0, 100, simulated=True, adapters=adapters)


ROUTES = {(one.organization_id, one.name): one for one in (deployment("chat"), deployment("theirs", "other"))}
MODELS = {
    "own name": ("chat", key(), None),
    "with the own slug": ("acme/chat", key(), None),
    "another slug": ("other/chat", key(), 404),
    "another organization's": ("theirs", key(), 404),
    "unknown": ("nope", key(), 404),
    "listed for the key": ("chat", key(deployments=["id-chat"]), None),
    "not listed for the key": ("chat", key(deployments=[]), 403),
    "adapter": ("chat:law", key(), None),
    "adapter with the own slug": ("acme/chat:v1.0", key(), None),
    "unknown adapter": ("chat:tax", key(), 404),
    "no adapter behind the colon": ("chat:", key(), 404),
    "adapter of an adapter": ("chat:law:law", key(), 404),
    "adapter of an unknown one": ("nope:law", key(), 404),
    "another organization's adapter": ("theirs:law", key(), 404),
    "adapter as a path": ("chat:../law", key(), 404),
    "path": ("../../etc/passwd", key(), 404),
    "URL": ("https://example.com/chat", key(), 404),
    "adapter, not listed for the key": ("chat:law", key(deployments=[]), 403),
    "unknown adapter, not listed for the key": ("chat:tax", key(deployments=[]), 404),
    "not visible is 404 even when listed": ("theirs", key(deployments=["id-theirs"]), 404),
}


@pytest.mark.parametrize(("model", "caller", "status"), MODELS.values(), ids=MODELS.keys())
def test_which_deployment_a_model_name_means(model, caller, status):
    found = router.route(model, caller, ROUTES)
    assert (found.status if isinstance(found, Refusal) else None) == status


def test_models_are_listed_with_their_adapters():
    listed = json.loads(openai.models_body([deployment("chat")]))["data"]
    assert [(one["id"], one["root"], one["parent"]) for one in listed] == [
        ("chat", "chat", None),
        ("chat:law", "chat", "chat"),
        ("chat:v1.0", "chat", "chat"),
    ]
    assert json.loads(openai.model_body(deployment("chat"), router.adapter_of("acme/chat:law"))) == listed[1]


def test_an_unknown_adapter_has_the_bytes_of_an_unknown_model():
    refusals = [router.route("chat:tax", key(), routes) for routes in (ROUTES, {})]
    assert [one.body() for one in refusals if isinstance(one, Refusal)] == [
        openai.model_not_found("chat:tax").body()
    ] * 2


PATIENCE = {"absent": (None, 300), "shorter": ("10", 10), "part of a second": (" 0.5", 0.5), "none": ("0", 0),
            "longer": ("900", 300), "endless": ("inf", 300)}  # fmt: skip


@pytest.mark.parametrize(("given", "seconds"), PATIENCE.values(), ids=PATIENCE.keys())
def test_a_caller_may_wait_less_for_a_start_but_not_longer(given, seconds):
    assert admission.patience(given, 300) == seconds


@pytest.mark.parametrize("given", ["", "soon", "-1", "nan", "10s", "1,5"])
def test_a_patience_that_is_no_number_of_seconds_is_refused(given):
    refusal = admission.patience(given, 300)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, "X-Scale-Up-Timeout" in refusal.message) == (400, True)


def test_a_model_name_that_is_no_text_at_all_still_gets_an_answer():
    refusal = router.route("\ud800", key(), ROUTES)
    assert isinstance(refusal, Refusal)
    assert b"`?`" in refusal.body()


def test_a_failed_deployment_must_not_be_retried():
    refusal = router.refusal_of_state(deployment("x", state="failed"))
    assert refusal
    assert (refusal.status, refusal.headers()["x-should-retry"]) == (503, "false")
    assert router.refusal_of_state(deployment("x")) is None


def body(**changes: object) -> bytes:
    fields = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], **changes}
    return json.dumps({name: value for name, value in fields.items() if value != "absent"}).encode()


BODIES = {
    "good": (body(), None, None),
    "content as parts": (body(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}]}]), None, None),
    "foreign fields": (body(ignore_eos=True, max_completion_tokens=5, api_token="x", seed=1), None, None),
    "nulls": (body(max_tokens=None, temperature=None, stream=None, stream_options=None), None, None),
    "empty": (b"", 400, None),
    "no JSON": (b"{'a'}", 400, None),
    "no UTF-8": (b'{"model": "\xff", "messages": []}', 400, None),
    "nested too deep": (b'{"a":' * 100_000, 400, None),
    "list": (b"[]", 400, None),
    "no model": (body(model="absent"), 400, "model"),
    "empty model": (body(model=""), 400, "model"),
    "model is a number": (body(model=3), 400, "model"),
    "no messages": (body(messages="absent"), 400, "messages"),
    "messages is text": (body(messages="hi"), 400, "messages"),
    "message without role": (body(messages=[{"content": "x"}]), 400, "messages.[0]"),
    "stream is text": (body(stream="yes"), 400, "stream"),
    "options without stream": (body(stream_options={"include_usage": True}), 400, "stream_options"),
    "options is a list": (body(stream=True, stream_options=[]), 400, "stream_options"),
    "max_tokens is text": (body(max_tokens="5"), 400, "max_tokens"),
    "max_tokens is true": (body(max_tokens=True), 400, "max_tokens"),
    "max_tokens 0": (body(max_tokens=0), 422, "max_tokens"),
    "max_tokens 1.5": (body(max_tokens=1.5), 422, "max_tokens"),
    "max_completion_tokens -1": (body(max_completion_tokens=-1), 422, "max_completion_tokens"),
    "temperature 2": (body(temperature=2), None, None),
    "temperature 2.01": (body(temperature=2.01), 422, "temperature"),
    "temperature NaN": (body(temperature=float("nan")), 422, "temperature"),
    "max_tokens infinite": (body(max_tokens=float("inf")), 422, "max_tokens"),
    "top_p 0": (body(top_p=0), 422, "top_p"),
    "top_p 1": (body(top_p=1), None, None),
    "n 0": (body(n=0), 422, "n"),
    "presence_penalty -2.1": (body(presence_penalty=-2.1), 422, "presence_penalty"),
}


@pytest.mark.parametrize(("given", "status", "param"), BODIES.values(), ids=BODIES.keys())
def test_which_bodies_are_let_in(given, status, param):
    call = admission.parse(Route.CHAT, given)
    assert (call.status if isinstance(call, Refusal) else None) == status
    if isinstance(call, Refusal):
        assert call.param == param
        assert call.code == (f"invalid_{param}" if status == 422 else None)


PROMPTS = {
    "text": ("four", 4),
    "texts": (["four", "é"], 6),
    "token ids": ([1, 2, 3], 12),
    "lists of token ids": ([[1, 2], [3]], 12),
}


@pytest.mark.parametrize(("prompt", "size"), PROMPTS.values(), ids=PROMPTS.keys())
def test_how_long_a_prompt_is(prompt, size):
    call = admission.parse(Route.COMPLETIONS, json.dumps({"model": "m", "prompt": prompt}).encode())
    assert isinstance(call, Call)
    assert (call.prompt_bytes, call.input_estimate) == (size, -(-size // 4))


@pytest.mark.parametrize("prompt", ["absent", None, [], 5, {}])
def test_a_completion_needs_a_prompt(prompt):
    fields = {"model": "m", **({} if prompt == "absent" else {"prompt": prompt})}
    refusal = admission.parse(Route.COMPLETIONS, json.dumps(fields).encode())
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.param) == (400, "prompt")


INPUTS = {
    "text": ("four", 1),
    "texts": (["four", "é"], 2),
    "token ids": ([1, 2, 3], 3),
    "lists of token ids": ([[1, 2], [3]], 3),
    "empty": ("", None),
    "no input": ("absent", None),
    "null": (None, None),
    "number": (5, None),
    "object": ({"text": "x"}, None),
    "empty list": ([], None),
    "one of them empty": (["x", ""], None),
    "an empty list of ids": ([[]], None),
    "true is no token": ([True], None),
    "text among ids": ([[1], "x", 2], None),
    "fractions": ([1.5], None),
}


@pytest.mark.parametrize(("given", "tokens"), INPUTS.values(), ids=INPUTS.keys())
def test_what_may_be_embedded_and_how_much_it_is(given, tokens):
    fields = {"model": "m", **({} if given == "absent" else {"input": given})}
    call = admission.parse(Route.EMBEDDINGS, json.dumps(fields).encode())
    if tokens is None:
        assert isinstance(call, Refusal)
        assert (call.status, call.param) == (400, "input")
    else:
        assert isinstance(call, Call)
        assert (call.input_estimate, call.stream) == (tokens, False)


@pytest.mark.parametrize(
    ("more", "status"), [({"stream": True}, 400), ({"dimensions": 0}, 422), ({"dimensions": 8}, 0)]
)
def test_embeddings_are_no_stream_and_have_a_size(more, status):
    call = admission.parse(Route.EMBEDDINGS, json.dumps({"model": "m", "input": "x", **more}).encode())
    assert (call.status if isinstance(call, Refusal) else 0) == status


@pytest.mark.parametrize("route", [Route.COMPLETIONS, Route.EMBEDDINGS])
def test_each_of_several_prompts_has_the_context_for_itself(route):
    given = json.dumps({"model": "m", route.prompt_field: ["x" * 800] * 5}).encode()
    call = admission.parse(route, given)
    assert isinstance(call, Call)
    assert admission.refusal_of_length(call, 100) is None
    assert admission.refusal_of_length(call, 99) is not None


LENGTHS = {
    "fits": ("x" * 807, 100, None),
    "cannot fit at eight bytes per token": ("x" * 808, None, "context_length_exceeded"),
    "cap equals the context": ("x", 100, None),
    "cap above the context": ("x", 101, "invalid_max_tokens"),
}


@pytest.mark.parametrize(("prompt", "cap", "code"), LENGTHS.values(), ids=LENGTHS.keys())
def test_what_cannot_fit_into_the_context(prompt, cap, code):
    call = admission.parse(Route.CHAT, body(messages=[{"role": "user", "content": prompt}], max_tokens=cap))
    assert isinstance(call, Call)
    refusal = admission.refusal_of_length(call, 100)
    assert (refusal.code if refusal else None) == code


def test_our_usage_options_replace_the_callers_and_nothing_else_changes():
    options = b'"stream_options":{"x":1,"include_usage":false}, '
    given = b'{"model":"m", "stream": true,' + options + b'"messages":[{"role":"\xc3\xa9"}]}'
    call = admission.parse(Route.CHAT, given)
    assert isinstance(call, Call)
    assert call.upstream_body() == (
        b'{"stream_options":{"x":1,"include_usage":true,"continuous_usage_stats":true},'
        b'"model":"m", "stream": true, "messages":[{"role":"\xc3\xa9"}]}'
    )


def test_a_body_without_stream_is_forwarded_as_it_is():
    given = b' {"model":"m","messages":[{"role":"user"}],"n":1e0}\n'
    call = admission.parse(Route.CHAT, given)
    assert isinstance(call, Call)
    assert call.upstream_body() is given


ENGINE = {
    "vLLM": (400, {"error": {"message": "bad", "type": "BadRequestError", "param": "n", "code": 400}}, 400, None, "n"),
    "vLLM before": (400, {"object": "error", "message": "bad", "param": None, "code": 400}, 400, None, None),
    "TGI": (422, {"error": "bad", "error_type": "validation"}, 422, None, None),
    "FastAPI": (422, {"detail": "bad"}, 422, None, None),
    "plain text": (500, "bad", 500, None, None),
    "conflict": (409, {"error": {"message": "bad"}}, 400, None, None),
    "its key is wrong": (401, {"error": {"message": "bad"}}, 500, None, None),
    "context": (400, "bad: maximum context length is 5", 400, "context_length_exceeded", "messages"),
    "busy": (429, {"error": {"message": "bad"}}, 503, "engine_overloaded", None),
    "slow": (504, {"error": {"message": "bad"}}, 504, "upstream_timeout", None),
    "redirect": (307, "bad", 500, None, None),
}  # fmt: skip


@pytest.mark.parametrize(("status", "data", "given", "code", "param"), ENGINE.values(), ids=ENGINE.keys())
def test_engine_errors_get_one_shape(status, data, given, code, param):
    raw = data.encode() if isinstance(data, str) else json.dumps(data).encode()
    refusal = openai.normalised(status, raw)
    assert (refusal.status, refusal.code, refusal.param) == (given, code, param)
    error = json.loads(refusal.body())["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "bad" in error["message"] or given == 504


@pytest.mark.parametrize(("seconds", "header"), [(0.1, "1"), (1.2, "2"), (300, "120")])
def test_retry_after_is_rounded_up_and_never_above_what_clients_obey(seconds, header):
    headers = openai.overloaded("x", seconds).headers()
    assert (headers["retry-after"], headers["retry-after-ms"]) == (header, header + "000")


def test_an_error_inside_a_stream_is_followed_by_done():
    assert openai.upstream_lost().event().endswith(b"\n\ndata: [DONE]\n\n")
    assert json.loads(openai.upstream_lost().event().split(b"\n")[0][6:])["error"]["code"] == "upstream_lost"


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("", "This deployment has failed. Its owner has to replace it."),
        ("Out of memory.", "This deployment has failed: Out of memory. Its owner has to replace it."),
    ],
    ids=["no_reason_known", "reason_is_a_sentence"],
)
def test_a_failed_deployment_says_why_in_whole_sentences(reason: str, sentence: str) -> None:
    assert openai.deployment_failed(reason).message == sentence
