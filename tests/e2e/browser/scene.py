"""A console with something to see: deployments in several statuses, and some usage."""

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
