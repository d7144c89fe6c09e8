"""The main story with real processes: deploy, call with the official client, see every token counted."""

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import urllib.request

import openai
import psutil
import pytest
import redis

from console.machine.embedded_servers import check_postgresql
from deployments.engines.simulator import tokens
from gateway import contract
from tests.e2e.stack import ROOT, Stack, until

pytestmark = pytest.mark.processes
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Wie geht’s? 👋"}]
PROMPT_TOKENS = tokens.count(tokens.chat_prompt(MESSAGES))


def client(stack: Stack, key: str = "inference") -> openai.OpenAI:
    secret = stack.run["demo"]["api_keys"].get(key, key)
    return openai.OpenAI(base_url=f"{stack.run['gateway_url']}/v1", api_key=secret, max_retries=0)


@pytest.fixture(scope="module")
def chat(stack: Stack):
    """A running deployment and what its engines had generated before."""
    stack.deploy("story", replicas=2)
    return stack.reaches("story", "RUNNING")


def test_the_run_file_says_where_everything_is_and_only_its_owner_may_read_it(stack):
    path = stack.folder / "run.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(stack.run) == {
        "console_url", "gateway_url", "metrics_url", "database_url", "redis_url", "processes", "demo",
    }  # fmt: skip
    workers = ("worker", "ingest", "publish")
    names = ("up", "web", "gateway", *workers, "beat", "watch", "postgresql", "valkey")
    assert set(stack.run["processes"]) == set(names)
    assert all(os.path.exists(f"/proc/{pid}") for pid in stack.run["processes"].values())
    assert "console_app:" in stack.run["database_url"]
    assert set(stack.run["demo"]["api_keys"]) == {"inference", "read", "manage", "operator"}


def test_every_process_answers_where_the_run_file_says(stack):
    for url in ("console_url", "metrics_url"):
        assert urllib.request.urlopen(stack.run[url], timeout=5).status == 200
    for path in ("/health", "/livez", "/readyz"):
        assert urllib.request.urlopen(stack.run["gateway_url"] + path, timeout=5).status == 200


def test_a_start_warns_of_nothing(stack):
    assert "WARNING" not in stack.output, stack.output


def test_the_official_client_streams_and_every_token_is_counted(stack, chat):
    before = stack.usage().get(chat["id"], (0, 0, 0))
    api = client(stack)
    whole = api.chat.completions.create(model="story", messages=MESSAGES, max_tokens=7)
    assert whole.usage.model_dump(include={"prompt_tokens", "completion_tokens"}) == {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": 7,
    }
    stream = api.chat.completions.create(model="story", messages=MESSAGES, max_tokens=11, stream=True)
    chunks = [chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content]
    assert len(chunks) == 11
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == tokens.generate(11)
    text = api.completions.create(model="story", prompt="Hello there", max_tokens=5)
    assert text.usage.completion_tokens == 5

    prompt_tokens = 2 * PROMPT_TOKENS + tokens.count("Hello there")
    expected = (before[0] + 3, before[1] + prompt_tokens, before[2] + 23)
    until("the ledger has all three", lambda: stack.usage().get(chat["id"]) == expected)
    engine = stack.generated()
    assert sum(one["prompt_tokens"] for one in engine) == expected[1]
    assert sum(one["completion_tokens"] for one in engine) == expected[2]


def test_one_port_shows_the_metrics_of_all_processes(stack, chat):
    client(stack).chat.completions.create(model="story", messages=MESSAGES, max_tokens=3)
    text = urllib.request.urlopen(stack.run["metrics_url"], timeout=5).read().decode()
    assert 'console_gateway_requests_total{process="gateway",route="/v1/chat/completions",status="200"}' in text
    assert 'console_process_restarts_total{process="worker"} 0.0' in text


def test_keys_are_published_and_requests_counted_while_no_reconcile_pass_can_run(stack, chat):
    before = stack.usage().get(chat["id"], (0, 0, 0))[0]
    worker = psutil.Process(stack.run["processes"]["worker"])
    suspended = [worker, *worker.children(recursive=True)]
    for process in suspended:
        process.suspend()

    def is_accepted() -> bool:
        with contextlib.suppress(openai.AuthenticationError):
            client(stack).chat.completions.create(model="story", messages=MESSAGES, max_tokens=1)
            return True
        return False

    try:
        with redis.Redis.from_url(stack.run["redis_url"]).pipeline() as lost:
            lost.delete(contract.KEYS, contract.CHANGES).execute()
        until("the gateway knows no key", lambda: not is_accepted())
        until("keys are published again", is_accepted)
        until("the requests are counted", lambda: stack.usage()[chat["id"]][0] > before)
    finally:
        for process in suspended:
            process.resume()


def test_a_client_that_leaves_early_is_counted_for_what_was_generated(stack, chat):
    stack.deploy("leaver", ttft_ms=10, itl_ms=50)
    deployment = stack.reaches("leaver", "RUNNING")
    stream = client(stack).chat.completions.create(model="leaver", messages=MESSAGES, max_tokens=400, stream=True)
    for _, chunk in zip(range(5), stream, strict=False):
        assert chunk.model == "leaver"
    stream.close()
    row = until("the request is counted", lambda: stack.usage().get(deployment["id"]))
    written = [one for one in stack.generated() if one["model"] == "leaver"]
    assert row[:2] == (1, PROMPT_TOKENS)
    assert [one["outcome"] for one in written] == ["aborted"]
    assert 4 <= row[2] <= written[0]["completion_tokens"] < 400


def test_models_lists_what_the_key_may_call(stack, chat):
    assert "story" in [model.id for model in client(stack).models.list()]
    assert client(stack).models.retrieve("story").owned_by


@pytest.mark.parametrize(
    ("key", "model", "error", "code"),
    [
        ("mc_" + "0" * 36, "story", openai.AuthenticationError, "invalid_api_key"),
        ("read", "story", openai.PermissionDeniedError, "permission_denied"),
        ("inference", "nobody-knows-it", openai.NotFoundError, "model_not_found"),
    ],
    ids=["unknown key", "key without inference", "unknown model"],
)
def test_the_gateway_refuses_with_the_error_that_the_client_knows(stack, chat, key, model, error, code):
    with pytest.raises(error) as caught:
        client(stack, key).chat.completions.create(model=model, messages=MESSAGES)
    assert caught.value.code == code
    assert caught.value.request_id.startswith("req_")


def test_an_expired_key_is_refused_by_the_gateway_and_the_api(stack, chat):
    body = {"name": "Old", "scopes": ["inference", "read"], "expires_at": "2026-01-02T00:00:00Z"}
    status, made = stack.api("POST", "/api-keys", body)
    assert status == 201
    with pytest.raises(openai.AuthenticationError):
        client(stack, made["secret"]).chat.completions.create(model="story", messages=MESSAGES)
    assert stack.api("GET", "/deployments", key=made["secret"])[0] == 401


def test_a_revoked_key_is_refused_within_a_second(stack, chat):
    _, made = stack.api("POST", "/api-keys", {"name": "Short", "scopes": ["inference"]})
    api = client(stack, made["secret"])
    until("the new key works", lambda: _works(api), 2)
    assert stack.api("DELETE", f"/api-keys/{made['id']}")[0] == 204
    until("the key is refused", lambda: not _works(api), 1.2)


def _works(api: openai.OpenAI) -> bool:
    try:
        return bool(api.chat.completions.create(model="story", messages=MESSAGES, max_tokens=1))
    except openai.AuthenticationError:
        return False


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/chat/completions", b"{not json", 400),
        ("POST", "/v1/chat/completions", b"[]", 400),
        ("GET", "/v1/nothing/here", None, 404),
        ("GET", "/v1/chat/completions", None, 405),
    ],
    ids=["malformed JSON", "no object", "unknown route", "wrong method"],
)
def test_the_gateway_answers_nonsense_in_the_clients_own_error_shape(stack, chat, method, path, body, status):
    secret = stack.run["demo"]["api_keys"]["inference"]
    seen, answer = stack.call(stack.run["gateway_url"] + path, method, body, secret)
    assert seen == status
    assert set(answer["error"]) == {"message", "type", "param", "code"}


def test_bad_input_to_the_api_names_its_field(stack, chat):
    model = {"source": "catalog", "id": "llama-3.1-8b-instruct"}
    status, problem = stack.api("POST", "/deployments", {"name": "story", "model": model})
    assert status == 409
    assert [one["field"] for one in problem["errors"]] == ["name"]
    status, problem = stack.api("POST", "/deployments", {"name": "x", "model": model, "gpu": {"type": "abacus"}})
    assert status == 422
    assert [one["field"] for one in problem["errors"]] == ["gpu.type"]


FAULTS = {
    "download": "download_failed",
    "initialize": "engine_exited",
    "out_of_memory": "out_of_memory",
    "crash": "engine_exited",
}


@pytest.fixture(scope="module")
def broken(stack):
    """A deployment for each fault, all on their way at once: giving up takes each of them three tries."""
    return {fault: stack.deploy(f"broken-{fault.replace('_', '-')}", fail=fault)["name"] for fault in FAULTS}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_deployment_that_cannot_run_fails_with_cause_evidence_and_action(stack, broken, fault):
    failed = stack.reaches(broken[fault], "FAILED", seconds=90)
    assert failed["cause"]["code"] == FAULTS[fault]
    assert all(failed["cause"][part] for part in ("message", "evidence", "action"))
    until("its GPUs are free", lambda: not _processes_of(stack, failed["id"]))


def _processes_of(stack: Stack, deployment_id: str) -> set[str]:
    rows = stack.api("GET", f"/deployments/{deployment_id}/replicas")[1]["data"]
    return {row["id"] for row in rows} & set(stack.engines().values())


def test_terminate_ends_every_process_and_delete_forgets_the_name(stack):
    deployment = stack.deploy("short-lived", replicas=2)
    stack.reaches("short-lived", "RUNNING")
    assert len(_processes_of(stack, deployment["id"])) == 2
    assert stack.api("DELETE", "/deployments/short-lived")[0] == 409
    assert stack.api("POST", "/deployments/short-lived/terminate")[0] == 202
    stack.reaches("short-lived", "TERMINATED")
    assert not _processes_of(stack, deployment["id"])
    assert stack.api("DELETE", "/deployments/short-lived")[0] == 204
    assert stack.api("GET", "/deployments/short-lived")[0] == 404


def test_a_second_console_on_the_same_data_says_so_in_one_line(stack):
    done = subprocess.run(
        [sys.executable, "manage.py", "up"], cwd=ROOT, env=stack.environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    lines = (done.stdout + done.stderr).strip().splitlines()
    assert [line for line in lines if "Another console runs on" in line]
    assert "Traceback" not in done.stdout + done.stderr


def test_replicas_outlive_a_killed_console_and_the_next_start_finds_them(stack, chat):
    before = set(_processes_of(stack, chat["id"]))
    pids = {pid for pid, replica in stack.engines().items() if replica in before}
    children = [pid for name, pid in stack.run["processes"].items() if name != "up"]
    stack.end(signal.SIGKILL)
    until("its processes died with it", lambda: not [pid for pid in children if _alive(pid)], 5)
    assert pids <= set(stack.engines())
    stack.start()
    stack.reaches("story", "RUNNING")
    assert {pid for pid, replica in stack.engines().items() if replica in before} == pids
    assert client(stack).chat.completions.create(model="story", messages=MESSAGES, max_tokens=1)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_console_that_is_switched_off_stops_everything_in_ten_seconds_and_restores_it_next_time(stack, chat):
    stack.deploy("endless", itl_ms=100)
    stack.reaches("endless", "RUNNING")
    keys = stack.run["demo"]["api_keys"]
    api = client(stack)
    stream = api.chat.completions.create(model="endless", messages=MESSAGES, max_tokens=4000, stream=True)
    next(iter(stream))
    said, gateway = len(stack.output), f"-{stack.run['processes']['gateway']}-"
    seconds = stack.end(signal.SIGTERM)
    with pytest.raises(openai.APIError):
        list(stream)
    heartbeats = [line for line in stack.output[said:].splitlines() if "gateway.heartbeat" in line]
    # A gateway that was killed before is found dead 15 s later, which may be now.
    assert [line for line in heartbeats if "is dead" not in line or gateway in line] == []
    assert not stack.engines()
    assert not (stack.folder / "run.json").exists()
    stack.start()
    assert seconds < 10
    assert stack.run["demo"]["api_keys"] == keys
    assert stack.reaches("story", "RUNNING")["replicas"]["ready"] == 2
    rows = stack.api("GET", "/deployments/story/replicas")[1]["data"]
    assert {row["state"] for row in rows} == {"READY", "STOPPED"}
    assert "Traceback" not in stack.output, stack.output[-6000:]


def test_the_shims_log_agrees_with_the_replicas_that_the_console_shows(stack, chat):
    rows = stack.api("GET", "/deployments/story/replicas")[1]["data"]
    ended = [row for row in rows if row["state"] == "STOPPED"]
    exits = [json.dumps(one) for one in stack.shim_log() if one["what"] == "exited"]
    assert len(exits) >= len(ended) > 0
    for row in rows:
        stamps = [phase["started_at"] for phase in row["phases"]]
        assert stamps == sorted(stamps)


def test_the_api_works_at_once_when_postgresql_is_back(stack):
    pid = stack.kill_process("postgresql")
    until("it runs again", lambda: stack.read_run_file()["processes"].get("postgresql", pid) != pid)
    until("it lets us in", lambda: check_postgresql(stack.run["database_url"]) is None)
    assert {stack.api("GET", "/deployments")[0] for _ in range(20)} == {200}
