"""`python -m deployments.engines.simulator serve|download …`: see docs/engines.md."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from deployments.engines.simulator.served_models import Adapter


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    if options.command == "download":
        from deployments.engines.simulator.download import download

        return download(options.total, options.seconds, fail=options.fail)
    return _serve(options)


def _serve(options: argparse.Namespace) -> int:
    from deployments.engines.simulator.generator import Pace
    from deployments.engines.simulator.server import Serving, serve

    serving = Serving(
        host=options.host,
        port=options.port,
        served_names=tuple(options.served_name),
        initialize_seconds=options.initialize_seconds,
        pace=Pace(options.ttft_ms / 1000, options.itl_ms / 1000, options.max_concurrency),
        max_model_len=options.max_model_len,
        gpu_count=options.gpu_count,
        fail=options.fail,
        grace_seconds=options.grace_seconds,
        adapters=tuple(options.lora_modules),
        root=options.model,
    )
    serve(serving, os.environ)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulator", description="A simulated engine with vLLM's HTTP API.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="answer requests")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, required=True)
    serve.add_argument("--model", default="", help="where the model came from, shown as its root")
    serve.add_argument("--served-name", action="append", required=True, help="may be given several times")
    serve.add_argument("--lora-modules", nargs="+", type=_adapter, default=(), help="JSON objects as for vLLM")
    serve.add_argument("--initialize-seconds", type=float, default=2.0)
    serve.add_argument("--ttft-ms", type=float, default=120.0)
    serve.add_argument("--itl-ms", type=float, default=15.0)
    serve.add_argument("--max-model-len", type=int, default=8192, help="tokens")
    serve.add_argument("--max-concurrency", type=int, default=16)
    serve.add_argument("--gpu-count", type=int, default=1)
    serve.add_argument("--grace-seconds", type=float, default=3.5, help="for what is in flight at SIGTERM")
    serve.add_argument("--fail", choices=("initialize", "out_of_memory", "crash", "never_healthy"))
    download = commands.add_parser("download", help="pretend to fetch the model")
    download.add_argument("--total", type=int, required=True, help="bytes")
    download.add_argument("--seconds", type=float, required=True)
    download.add_argument("--fail", action="store_true")
    return parser


def _adapter(text: str) -> Adapter:
    return Adapter(**json.loads(text))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
