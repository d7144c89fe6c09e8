"""A console with something to see: deployments in several statuses, some usage, and a lost replica."""

import shutil

from tests.e2e.stack import Stack, until


def prepare(stack: Stack) -> str:
    """Deploy and call; returns the id of a running deployment."""
    shown = stack.deploy("support-chat", replicas=2, ttft_ms=80, itl_ms=8)
    stack.deploy("batch-summaries", download_seconds=3000)
    stack.deploy("nightly-evaluation", fail="out_of_memory")
    stack.reaches("support-chat", "RUNNING")
    secret = stack.run["demo"]["api_keys"]["inference"]
    for size in (24, 60, 120):
        body = {"model": "support-chat", "max_tokens": size, "messages": [{"role": "user", "content": "Hello " * size}]}
        assert stack.call(f"{stack.run['gateway_url']}/v1/chat/completions", "POST", body, secret)[0] == 200
    stack.reaches("nightly-evaluation", "FAILED", seconds=90)
    until("usage is counted", lambda: stack.usage().get(shown["id"], (0,))[0] == 3)
    return str(shown["id"])


def lose_replica(stack: Stack) -> dict[str, str]:
    """Deploy and delete the record of the replica: the ids of the deployment (`lost`) and of the `replica`, UNKNOWN."""
    lost = stack.deploy("lost-replica")
    stack.reaches("lost-replica", "RUNNING")
    (replica,) = stack.ask("GET", "/deployments/lost-replica/replicas")["data"]
    (folder,) = (folder for folder in stack.replica_folders() if replica["id"].replace("-", "") in folder.name)
    shutil.rmtree(folder)
    until(
        "the replica is unknown",
        lambda: stack.ask("GET", "/deployments/lost-replica/replicas")["data"][0]["state"] == "UNKNOWN",
    )
    return {"lost": lost["id"], "replica": replica["id"]}
