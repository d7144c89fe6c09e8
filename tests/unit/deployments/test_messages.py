"""The catalogue: what people read for the codes and facts that are stored."""

import ast
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from types import ModuleType
from typing import Any

import pytest

from deployments import causes, messages
from deployments.codes import CauseCode, ClusterProblem, Kind, Notice, Reason, ReasonCode, StopReason
from deployments.drivers.base import ExitRecord
from deployments.engines.registry import ENGINES
from deployments.messages import CAUSES, CLUSTER_PROBLEMS, EVENTS, NOTICES, REASONS, STOP_REASONS, Message
from deployments.reconciler import deadlines
from deployments.reconciler.snapshot import Policy
from tests.tools.reword_messages import CATALOGUE, reword
from tests.unit.deployments.snapshots import NOW

ROOT = Path(__file__).parents[3]
GIB, GB = 2**30, 10**9
# As the catalogue names them; the facts that are computed when a message is read are in COMPUTED.
CHANGES = [{"field": "engine.context_length", "before": 8192, "after": 4096}]
LOAD = {
    "load": 40, "counted_load": 28.6, "mean_seconds": 60, "load_per_replica": 11.2, "needed": 3, "most_needed": 2,
    "oldest_waiting_seconds": 3.14, "scale_down_delay_seconds": 300, "is_limited": True, "lowest": 1,
    "min_replicas": 1, "max_replicas": 8,
}  # fmt: skip
REASON_FACTS: dict[str, dict[str, Any]] = {
    ReasonCode.GPU_QUEUE: {"gpu": "H100", "gpu_count": 4, "free": 2, "total": 8},
    ReasonCode.GPU_POOL_TOO_SMALL: {"gpu": "H100", "gpu_count": 4, "free": 0, "total": 8},
    ReasonCode.BACK_OFF: {"failures": 2, "attempts": 3, "not_before": NOW.isoformat()},
    ReasonCode.CLUSTER_UNREACHABLE: {"cluster": "local", "problem": "data_folder_missing"},
    ReasonCode.REQUEST_ARRIVED: {},
    ReasonCode.MINIMUM_RAISED: {"min_replicas": 2},
    ReasonCode.UPDATE_BEHIND_OTHERS: {"gpu": "H100", "gpu_count": 1, "ahead": 2},
    ReasonCode.UPDATE_POOL_TOO_SMALL: {"gpu": "H100", "gpu_count": 4, "freed": 2},
    **dict.fromkeys(
        (ReasonCode.LOAD_ROSE, ReasonCode.BACKLOG, ReasonCode.LOAD_FELL, ReasonCode.RANGE_FIXED,
         ReasonCode.RANGE_MINIMUM, ReasonCode.RANGE_MAXIMUM), LOAD,
    ),
}  # fmt: skip
COMPUTED = {"position": 2, "seconds": 4}


def test_every_code_has_a_message_and_every_message_a_code() -> None:
    assert EVENTS.keys() == set(Kind)
    assert CAUSES.keys() == set(CauseCode)
    assert REASONS.keys() == set(ReasonCode)
    assert NOTICES.keys() == set(Notice)
    assert STOP_REASONS.keys() == set(StopReason)
    assert CLUSTER_PROBLEMS.keys() == set(ClusterProblem)
    assert not CAUSES.keys() & REASONS.keys()


def test_every_code_is_produced_somewhere() -> None:
    produced = {name for path in _sources() for name in _members(ast.parse(path.read_text()))}
    declared = {
        (kind.__name__, code.name)
        for kind in (Kind, CauseCode, ReasonCode, ClusterProblem, Notice, StopReason)
        for code in kind
    }
    assert declared - produced == set()


def _sources() -> Iterator[Path]:
    for path in (*(ROOT / "deployments").rglob("*.py"), *(ROOT / "console" / "deployments").rglob("*.py")):
        if path.name not in ("codes.py", "messages.py"):
            yield path


def _members(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.value.id, node.attr


def test_no_code_is_written_as_text_where_decisions_are_made() -> None:
    """A code that is only a text would be missing from the enumerations, and so from the catalogue."""
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Reason", "Cause"):
                assert not isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}"


def made_causes() -> list[causes.Cause]:
    policy = Policy(
        phase_deadline_seconds={"REQUESTING_GPU": 600, "DOWNLOADING_MODEL": 3600, "ENGINE_INITIALIZING": 600},
        floor_mib_per_second={"DOWNLOADING_MODEL": 20},
    )
    exits = [("download", 1), ("engine", 1), ("engine", None), ("engine", -9), ("engine", 127)]
    return [
        *(engine.failure(ExitRecord(NOW, code, step), "") for engine in ENGINES.values() for step, code in exits),
        *(deadlines.explain(f"deadline:{state}", policy, "", GIB) for state in policy.phase_deadline_seconds),
        deadlines.explain(deadlines.UNHEALTHY, policy, ""),
        causes.out_of_memory("CUDA out of memory"),
        causes.adapter_failed("no adapter"),
        causes.vanished(""),
        causes.start_refused("no such image"),
    ]


def test_every_cause_says_what_to_do_and_shows_evidence() -> None:
    assert {cause.code for cause in made_causes()} == set(CauseCode)
    for cause in made_causes():
        text = messages.describe_reason(json.loads(json.dumps(cause.to_json())))
        assert all((text.title, text.sentence, text.evidence))
        assert any(word in text.action for word in ("Retry", "Edit", "Clone", "by itself"))
        assert_complete(text.title, text.sentence, text.action)


@pytest.mark.parametrize(
    ("problem", "end"),
    [
        *((code, f"now: {clause}.") for code, clause in CLUSTER_PROBLEMS.items()),
        ("of_a_later_release", "now: of_a_later_release."),
        (None, "now."),
    ],
)
def test_a_cluster_that_cannot_be_used_says_why_where_that_is_known(problem: str | None, end: str) -> None:
    reason = Reason(ReasonCode.CLUSTER_UNREACHABLE, cluster="local", problem=problem)
    assert messages.describe_reason(reason.to_json()).sentence.endswith(end)


@pytest.mark.parametrize("code", list(ReasonCode))
def test_every_reason_renders_with_its_facts(code: ReasonCode) -> None:
    stored = Reason(code, **REASON_FACTS[code]).to_json()
    for computed in ({}, COMPUTED):
        text = messages.describe_reason(stored, computed)
        assert_complete(text.title, text.sentence, text.action)
        assert text.sentence.endswith(".")


def assert_complete(*texts: str) -> None:
    for text in texts:
        assert messages.NOTHING not in text
        assert not set(text) & set("{}[]|")


@pytest.mark.parametrize(
    "message",
    [message for group in (EVENTS, CAUSES, REASONS, NOTICES, STOP_REASONS) for message in group.values()],
)
def test_templates_are_well_formed(message: Message) -> None:
    for template in (message.title, message.sentence, message.action, message.no_evidence):
        assert template.count("[") == template.count("]") == len(messages.OPTIONAL.findall(template))
        assert all(name is None or name.isidentifier() for _, name, _, _ in Formatter().parse(template))


@pytest.mark.parametrize(
    ("kind", "facts", "words"),
    [
        ("created", {"replicas": 1}, "mara created the deployment, 1 replica wanted"),
        ("edited", {"changes": CHANGES, "revision": 2}, "Revision 2: mara changed engine.context_length 8192 → 4096"),
        ("edited", {"changes": CHANGES, "revision": None}, "mara changed engine.context_length 8192 → 4096"),
        ("replica_downloading", {"replica": "r-1", "gpu_count": 1, "gpu": "L40S", "node": "", "bytes_total": None},
         "r-1 got 1 × L40S and downloads the model"),
        ("replica_downloading", {"replica": "r-1", "gpu_count": 1, "gpu": "L40S", "node": "n", "bytes_total": 3 * GB},
         "r-1 got 1 × L40S on n and downloads the model, 3.0 GB"),
        ("replica_ready", {"replica": "r-1", "start_seconds": 3725}, "r-1 is ready after 1:02:05"),
        ("woken", {"waiting": 0, "replicas": 1, "reason": {"code": "request_arrived", "facts": {}}},
         "Waking: a request arrived"),
        ("woken", {"waiting": 3, "replicas": 1, "reason": {"code": "request_arrived", "facts": {}}},
         "Waking: a request arrived, 3 requests waiting"),
        ("scaled", {"from": 1, "to": 3, "reason": {"code": "load_rose", "facts": LOAD | {"is_limited": False}}},
         "Scales from 1 replica to 3: 28.6 requests at a time over 60 s, at 11.2 for each replica, call for "
         "3 replicas."),
        ("failed", {"failures": 3, "cause": {"code": "engine_exited", "facts": {"exit_code": 1}, "evidence": ""}},
         "Failed after 3 failures in a row: The engine exited with code 1."),
    ],
)  # fmt: skip
def test_an_event_is_one_line_of_its_facts(kind: str, facts: dict[str, Any], words: str) -> None:
    assert messages.describe_event(kind, "mara", facts) == words


@pytest.mark.parametrize(
    ("code", "computed", "words"),
    [
        ("gpu_queue", {}, "4 × H100 needed, 2 of 8 free."),
        ("gpu_queue", {"position": 2}, "4 × H100 needed, 2 of 8 free, 2nd in turn."),
        ("back_off", {}, "Starts again, after failure 2 of 3."),
        ("back_off", {"seconds": 4}, "Starts again in 4 s, after failure 2 of 3."),
        (
            "update_behind_others",
            {},
            "Needs 1 × H100 for the new revision; 2 other deployments before it in the queue.",
        ),
    ],
)
def test_what_changes_meanwhile_is_added_when_it_is_read(code: str, computed: dict[str, int], words: str) -> None:
    stored = Reason(code, **REASON_FACTS[code]).to_json()
    assert messages.describe_reason(stored, computed).sentence == words


def test_a_limit_names_the_part_that_is_due_to_the_weights() -> None:
    limit = causes.Limit(4624, 3600, 20 * GB, 20)
    text = messages.describe_reason(causes.download_too_slow(limit, "").to_json())
    assert text.sentence.endswith("within 4,624 s (3,600 s, and 1,024 s for 20.0 GB of weights at 20 MiB/s).")
    text = messages.describe_reason(causes.download_too_slow(causes.Limit(600, 600), "").to_json())
    assert text.sentence.endswith("within 600 s.")


@pytest.mark.parametrize(
    ("code", "facts", "texts"),
    [
        (Notice.LIVE, {"revision": 2, "replicas": 1, "range": "1–4"},
         ("Live and accepting requests", "Revision 2 on 1 replica, range 1–4.", "")),
        (Notice.LIVE, {"revision": 2, "replicas": 3, "range": ""},
         ("Live and accepting requests", "Revision 2 on 3 replicas, fixed number.", "")),
        (Notice.ROLLING, {"previous": 1, "revision": 2, "replaced": 0, "replicas": 2},
         ("Rolling from revision 1 to 2", "0 of 2 replaced.", "")),
        (Notice.ROLLING, {"previous": None, "revision": 2, "replaced": 1, "replicas": 2},
         ("Rolling to revision 2", "1 of 2 replaced.", "")),
        (Notice.WAKING, {"least": 0, "at": "12:00", "waiting": "No requests are waiting"},
         ("Waking: a request arrived at 12:00 UTC", "No requests are waiting.", "")),
        (Notice.WAKING, {"least": 1, "at": "12:00", "waiting": "No requests are waiting"},
         ("Waking: the minimum is 1 replica at 12:00 UTC", "No requests are waiting.", "")),
        (Notice.STARTING_AGAIN, {"seconds": None, "attempt": 2, "attempts": 3, "ready": 1},
         ("Starts again now, attempt 2 of 3", "1 replica serving requests.", "")),
        (Notice.TERMINATING, {"replicas": 0, "requests": None, "drain_seconds": 60},
         ("Terminating: no replicas left to stop", "", "")),
        (Notice.TERMINATING, {"replicas": 2, "requests": 1, "drain_seconds": 60},
         ("Terminating: 2 replicas to stop", "1 request in flight can finish within 60 s.", "")),
        (Notice.BROKEN, {"error": "KeyError", "attempts": 4, "since": "12:00", "ready": 0},
         ("The console cannot work on this deployment",
          "An internal error (KeyError) has interrupted 4 attempts since 12:00 UTC.",
          "It tries again at least once a minute. An operator finds the error in the worker's log.")),
    ],
)  # fmt: skip
def test_a_notice_says_what_its_facts_allow(code: Notice, facts: dict[str, Any], texts: tuple[str, str, str]) -> None:
    text = messages.describe_notice(code, **facts)
    assert (text.title, text.sentence, text.action) == texts


def test_an_unknown_code_renders_as_itself() -> None:
    assert messages.describe_event("moved_to_the_moon", "mara", {"crater": 3}) == "moved_to_the_moon"
    text = messages.describe_reason({"code": "full_moon", "facts": {}, "evidence": "howling"})
    assert (text.title, text.sentence, text.action, text.evidence) == ("full_moon", "full_moon", "", "howling")
    assert messages.describe_stop("eclipse") == "eclipse"
    nested = messages.describe_event("pending", "console", {"reason": {"code": "full_moon", "facts": {}}})
    assert "full_moon" in nested


@pytest.mark.parametrize("kind", list(Kind))
def test_an_event_that_lacks_facts_of_today_still_renders(kind: Kind) -> None:
    assert messages.describe_event(kind, "mara", {})


def test_an_event_stored_earlier_renders_as_the_catalogue_says_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = json.loads(json.dumps({"reason": Reason("gpu_queue", **REASON_FACTS["gpu_queue"]).to_json()}))
    now = _load_reworded(tmp_path, monkeypatch)
    for kind, facts in (("created", {"replicas": 2}), ("pending", stored), ("terminated", {})):
        before, after = messages.describe_event(kind, "mara", facts), now.describe_event(kind, "mara", facts)
        assert before != after
        assert set(re.findall(r"\d+|mara|H100", before)) == set(re.findall(r"\d+|mara|H100", after))


def _load_reworded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The catalogue with another wording, as a later release would have it."""
    path = folder / "reworded.py"
    path.write_text(reword((ROOT / CATALOGUE).read_text()))
    spec = importlib.util.spec_from_file_location("reworded", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "reworded", module)
    spec.loader.exec_module(module)
    return module


def test_a_long_event_is_cut() -> None:
    changes = [{"field": "description", "before": "a" * 400, "after": "b"}]
    line = messages.describe_event("edited", "mara", {"changes": changes})
    assert (len(line), line[-1]) == (messages.MAX_CHARACTERS, "…")


@pytest.mark.parametrize(
    ("number", "text"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (112, "112th"), (121, "121st")]
)
def test_positions_are_ordinals(number: int, text: str) -> None:
    stored = Reason("gpu_queue", **REASON_FACTS["gpu_queue"]).to_json()
    assert f"{text} in turn" in messages.describe_reason(stored, {"position": number}).sentence


@pytest.mark.parametrize(
    ("code", "words"),
    [
        pytest.param(3, "exited with code 3", id="exit code"),
        pytest.param(-9, "was killed by SIGKILL", id="signal"),
        pytest.param(-63, "was killed by signal 63", id="signal without a name"),
        pytest.param(None, "ended, and its exit code is not known", id="unknown"),
    ],
)
def test_exit_codes_are_put_in_words(code: int | None, words: str) -> None:
    assert messages.describe_exit(code) == words
