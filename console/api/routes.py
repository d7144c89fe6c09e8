"""Every operation of the API, in one table: routes, checks and the OpenAPI document follow from it."""

from __future__ import annotations

from console.api import catalog, changes, deployments, event_stream, keys, logs, usage
from console.api.operations import Operation
from console.api.pages import BY_ID, BY_NAME, BY_NUMBER, LATEST, NEWEST

OPERATIONS = (
    Operation(
        "GET", "/deployments", "list_deployments", "Deployments", "List deployments, newest first", deployments.listed,
        {200: ("One page.", "Deployments")}, parameters=deployments.FILTERS,
    ),
    Operation(
        "POST", "/deployments", "create_deployment", "Deployments", "Deploy a model", deployments.create,
        {201: ("The new deployment.", "Deployment"), 200: ("The same body made this one before.", "Deployment")},
        description="Answers at once; status tells the rest. Fields left out get defaults, which the answer shows.",
        body="DeploymentBody", conflicts=("name-taken",),
    ),
    Operation(
        "GET", "/deployments/{id}", "get_deployment", "Deployments", "Get a deployment by id or name",
        deployments.shown, {200: ("The deployment.", "Deployment")},
    ),
    Operation(
        "PATCH", "/deployments/{id}", "edit_deployment", "Deployments", "Edit a deployment", changes.patched,
        {200: ("As it is now.", "Deployment")},
        description="A JSON merge patch: what it does not name stays, null brings a default back. Model, adapters, "
        "engine and GPU count make a new revision, which replaces the replicas one after another; everything else "
        "acts at once. Name, endpoint and GPU type never change.",
        body="DeploymentPatch", conflicts=("not-now",), is_guarded=True,
    ),
    Operation(
        "DELETE", "/deployments/{id}", "delete_deployment", "Deployments", "Delete a deployment that has ended",
        deployments.deleted, {204: ("It is gone.", None)}, conflicts=("not-ended",),
    ),
    Operation(
        "POST", "/deployments/{id}/terminate", "terminate_deployment", "Deployments", "Stop all and release the GPUs",
        deployments.terminated, {202: ("It is TERMINATING, and TERMINATED once nothing is left.", "Deployment")},
        description="Doing it twice is doing it once.", body="Nothing", body_required=False,
    ),
    Operation(
        "POST", "/deployments/{id}/redeploy", "redeploy_deployment", "Deployments", "Start what has ended again",
        changes.redeployed, {202: ("It waits for its GPUs.", "Deployment")},
        description="What is TERMINATED or FAILED, with its configuration.",
        body="Nothing", body_required=False, conflicts=("not-now",), is_guarded=True,
    ),
    Operation(
        "POST", "/deployments/{id}/retry", "retry_deployment", "Deployments", "Try again after a failure",
        changes.retried, {202: ("It starts again at once.", "Deployment")},
        description="What is FAILED, or waits before its next start. Failures so far count no more.",
        body="Nothing", body_required=False, conflicts=("not-now",), is_guarded=True,
    ),
    Operation(
        "POST", "/deployments/{id}/rollback", "roll_back_deployment", "Deployments", "Go back to an earlier revision",
        changes.rolled_back, {202: ("It has a new revision with the old configuration.", "Deployment")},
        description="Without a number to the latest earlier one that differs and did not fail. What acts at once "
        "(replicas, description, labels) stays as it is.",
        body="Rollback", body_required=False, conflicts=("not-now",), is_guarded=True,
    ),
    Operation(
        "GET", "/deployments/{id}/revisions", "list_revisions", "Deployments", "List revisions, newest first",
        changes.revisions, {200: ("One page.", "Revisions")},
        description="A revision is what its replicas were started with.", parameters=BY_NUMBER.parameters,
    ),
    Operation(
        "GET", "/deployments/{id}/replicas", "list_replicas", "Deployments", "List replicas, ended ones too",
        deployments.replicas, {200: ("One page.", "Replicas")}, parameters=NEWEST.parameters,
    ),
    Operation(
        "GET", "/deployments/{id}/events", "list_events", "Deployments", "List what happened, latest first",
        event_stream.listed, {200: ("One page, or the stream.", "Events")}, headers=(event_stream.LAST_EVENT_ID,),
        description="With `follow=true` what happens from now on, or after an event, as server-sent events.",
        parameters=(*LATEST.parameters, *event_stream.PARAMETERS), streamed=event_stream.STREAMED,
    ),
    Operation(
        "GET", "/deployments/{id}/logs", "read_logs", "Deployments", "Read what its replicas wrote, latest lines",
        logs.listed, {200: ("One page, oldest line first, or the stream.", "LogLines")},
        description="Of all replicas or one, also of those that have ended. Lines have no control characters and are "
        "cut after 4,000; `next_cursor` leads to the lines before. With `follow=true` server-sent events.",
        parameters=logs.PARAMETERS, conflicts=("log-unavailable",), streamed=logs.STREAMED,
    ),
    Operation(
        "GET", "/models", "list_models", "Catalog", "List the models of the catalog", catalog.models,
        {200: ("One page.", "Models")}, parameters=BY_ID.parameters,
    ),
    Operation(
        "GET", "/models/{id}", "get_model", "Catalog", "Get a model of the catalog", catalog.model,
        {200: ("The model.", "Model")},
    ),
    Operation(
        "GET", "/gpu-types", "list_gpu_types", "Catalog", "List the GPU types", catalog.gpu_types,
        {200: ("One page.", "GpuTypes")}, parameters=BY_ID.parameters,
    ),
    Operation(
        "GET", "/endpoints", "list_endpoints", "Catalog", "List endpoints and their GPUs", catalog.endpoints,
        {200: ("One page.", "Endpoints")}, parameters=BY_NAME.parameters,
    ),
    Operation(
        "GET", "/api-keys", "list_api_keys", "API keys", "List API keys, newest first", keys.listed,
        {200: ("One page.", "ApiKeys")},
        description="Your own; with the role admin or owner, all of the organization.", parameters=NEWEST.parameters,
    ),
    Operation(
        "POST", "/api-keys", "create_api_key", "API keys", "Make an API key", keys.create,
        {201: ("The key with its secret, which is shown only here.", "NewApiKey")},
        description="It belongs to you and may do what your role allows at the time of each call, cut by its scopes.",
        body="ApiKeyBody",
    ),
    Operation(
        "DELETE", "/api-keys/{id}", "revoke_api_key", "API keys", "Revoke an API key", keys.revoked,
        {204: ("It is refused everywhere within a second.", None)},
    ),
    Operation(
        "GET", "/usage", "get_usage", "Usage", "Sum requests and tokens", usage.sums, {200: ("All rows.", "Usage")},
        description="Of requests admitted in [from, to). Requests count within 15 s of their end.",
        parameters=usage.PARAMETERS,
    ),
    Operation(
        "GET", "/organizations/current", "get_organization", "Organization", "Get the organization of the key",
        catalog.organization, {200: ("The organization.", "Organization")},
    ),
)  # fmt: skip
