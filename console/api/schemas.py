"""JSON schemas of what the API answers, by name. Every field is always there."""

from __future__ import annotations

from typing import Any

from console.api.keys import SCOPES
from console.api.problems import KINDS
from deployments.states import STARTING_ORDER, DeploymentStatus, ReplicaState

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
MAYBE_TEXT: Schema = {"type": ["string", "null"]}
WHOLE: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}
MAYBE_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}
FREE: Schema = {"type": "object"}


def record(**fields: Schema) -> Schema:
    return {"type": "object", "required": list(fields), "additionalProperties": False, "properties": fields}


def words(*values: Any) -> Schema:
    return {"enum": list(values)}


def many(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def page(item: str) -> Schema:
    return record(data=many(ref(item)), next_cursor=MAYBE_TEXT)


CAUSE = record(code=TEXT, message=TEXT, evidence=TEXT, action=TEXT)
SIMULATOR = record(
    download_seconds={"type": "number"},
    initialize_seconds={"type": "number"},
    ttft_ms={"type": "number"},
    itl_ms={"type": "number"},
    fail=MAYBE_TEXT,
)
ADAPTERS = many(
    record(
        name={**TEXT, "description": "Called as deployment:name."},
        repository=TEXT,
        revision={**TEXT, "description": "Empty: the default branch."},
    )
)
ENGINE = record(
    name=TEXT,
    context_length=WHOLE,
    max_concurrency=WHOLE,
    prefix_caching=FLAG,
    simulator={"anyOf": [SIMULATOR, {"type": "null"}]},
)
MODEL = record(source=words("catalog"), id=TEXT)
GPU = record(type=TEXT, count={**WHOLE, "description": "GPUs of each replica."})
RANGE = record(
    enabled=words(True),
    min_replicas={**WHOLE, "description": "0: it sleeps when nobody calls it."},
    max_replicas=WHOLE,
    scale_down_delay_seconds=WHOLE,
    sleep_after_seconds={"type": ["integer", "null"], "description": "Null: the scale-down delay."},
)
DEPLOYMENT = record(
    id=TEXT,
    organization={**TEXT, "description": "Slug of the organization that owns it."},
    name=TEXT,
    description=TEXT,
    endpoint=TEXT,
    model=MODEL,
    engine=ENGINE,
    gpu=GPU,
    adapters=ADAPTERS,
    autoscaling={"anyOf": [RANGE, record(enabled=words(False), replicas=WHOLE)]},
    labels={"type": "object", "additionalProperties": TEXT},
    status=words(*(one.value for one in DeploymentStatus)),
    phase={**words(*(one.value for one in STARTING_ORDER), None), "description": "Only while DEPLOYING."},
    cause={"anyOf": [CAUSE, {"type": "null"}], "description": "Only when FAILED."},
    revision=WHOLE,
    replicas=record(desired=WHOLE, ready=WHOLE, total={**WHOLE, "description": "All that have not ended."}),
    call=record(base_url={**TEXT, "description": "For OpenAI clients; ends in /v1."}, model=TEXT),
    simulated={**FLAG, "description": "Whether its GPUs are only declared or its engine is the simulator."},
    created_at=TIME,
    updated_at=TIME,
    ready_at=MAYBE_TIME,
)
REVISION = record(
    number={**WHOLE, "description": "1, then one more each."},
    current={**FLAG, "description": "Whether it is what is wanted now."},
    created_at=TIME,
    created_by={**MAYBE_TEXT, "description": "E-mail; null when the console rolled back by itself."},
    restores={"type": ["integer", "null"], "description": "The revision that a rollback brought back."},
    ready_at={**MAYBE_TIME, "description": "When a replica of it was ready first."},
    cause={"anyOf": [CAUSE, {"type": "null"}], "description": "Why it could not start and was rolled back."},
    configuration=record(model=MODEL, adapters=ADAPTERS, engine=ENGINE, gpu=GPU),
    changes={
        **many(record(field=TEXT, before={}, after={})),
        "description": "Against the revision before it, by the path of the field.",
    },
)
REPLICA = record(
    id=TEXT,
    revision=WHOLE,
    state=words(*(one.value for one in ReplicaState)),
    node=MAYBE_TEXT,
    gpu_indices=many(WHOLE),
    phases=many(record(name=TEXT, started_at=TIME, ended_at=MAYBE_TIME)),
    restarts=WHOLE,
    cause={"anyOf": [CAUSE, {"type": "null"}], "description": "Why it failed, or will have failed once it is gone."},
    simulated=FLAG,
)
KEY = record(
    id=TEXT,
    organization=TEXT,
    user={**TEXT, "description": "E-mail of the person it belongs to."},
    name=TEXT,
    prefix={**TEXT, "description": "How the secret begins."},
    scopes=many(words(*SCOPES)),
    deployments={"type": ["array", "null"], "items": TEXT, "description": "Ids; null for all."},
    created_at=TIME,
    expires_at=MAYBE_TIME,
    last_used_at=MAYBE_TIME,
    revoked_at=MAYBE_TIME,
)
USAGE_ROW: Schema = {
    "type": "object",
    "description": "The group, as …_id with its name beside it or as a time, and its sums.",
    "required": ["requests", "input_tokens", "cached_input_tokens", "output_tokens"],
    "additionalProperties": False,
    "properties": {
        **{f"{name}_id": TEXT for name in ("deployment", "api_key", "user", "organization")},
        **{name: MAYBE_TEXT for name in ("deployment", "api_key", "user", "organization")},
        "hour": TIME,
        "day": TIME,
        **{name: WHOLE for name in ("requests", "input_tokens", "cached_input_tokens", "output_tokens")},
    },
}
PROBLEM: Schema = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "detail", "request_id"],
    "additionalProperties": False,
    "properties": {
        "type": {"type": "string", "enum": [f"/api/v1/docs#{kind}" for kind in KINDS]},
        "title": TEXT,
        "status": WHOLE,
        "detail": TEXT,
        "request_id": TEXT,
        "errors": many(record(field=TEXT, code=TEXT, message=TEXT)),
    },
}
ANSWERS: dict[str, Schema] = {
    "Deployment": DEPLOYMENT,
    "Deployments": page("Deployment"),
    "Revision": REVISION,
    "Revisions": page("Revision"),
    "Replica": REPLICA,
    "Replicas": page("Replica"),
    "Event": record(id=TEXT, at=TIME, kind=TEXT, actor=TEXT, summary=TEXT, data=FREE),
    "Events": page("Event"),
    "LogLine": record(at=MAYBE_TIME, replica={**TEXT, "description": "Id of the replica that said it."}, text=TEXT),
    "LogLines": page("LogLine"),
    "Model": record(
        id=TEXT,
        title=TEXT,
        family=TEXT,
        publisher=TEXT,
        repository=TEXT,
        description=TEXT,
        parameters=WHOLE,
        active_parameters={"type": ["integer", "null"], "description": "Of a mixture of experts."},
        weight_bytes=WHOLE,
        dtype=TEXT,
        context_length=WHOLE,
        architecture=FREE,
        license=TEXT,
        gated=FLAG,
        source_url=TEXT,
        sourced_at={"type": "string", "format": "date"},
    ),
    "Models": page("Model"),
    "GpuType": record(
        id=TEXT, title=TEXT, vendor=TEXT, memory_gb=WHOLE, memory_gib={"type": "number"}, source_url=TEXT
    ),
    "GpuTypes": page("GpuType"),
    "Endpoint": record(
        id=TEXT,
        name=TEXT,
        base_url=TEXT,
        visibility=words("public", "private"),
        cluster=TEXT,
        simulated=FLAG,
        gpus=many(record(type=TEXT, count=WHOLE)),
    ),
    "Endpoints": page("Endpoint"),
    "ApiKey": KEY,
    "ApiKeys": page("ApiKey"),
    "NewApiKey": record(**KEY["properties"], secret={**TEXT, "description": "Shown only in this answer."}),
    "UsageRow": USAGE_ROW,
    "Usage": {
        **record(
            **{"from": TIME, "to": TIME, "group_by": TEXT, "data": many(ref("UsageRow")), "next_cursor": MAYBE_TEXT}
        )
    },
    "Organization": record(
        id=TEXT, slug=TEXT, name=TEXT, role=words("viewer", "member", "admin", "owner", None), created_at=TIME
    ),
    "Problem": PROBLEM,
}
