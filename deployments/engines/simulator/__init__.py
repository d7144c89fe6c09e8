"""The simulator: a small program that speaks vLLM's HTTP API and needs no GPU.

`engine` is how the console launches it; `tokens`, `requests` and `answers` are pure; `server`, `app`, `desk` and
`journal` are the program, run by `python -m deployments.engines.simulator`.
"""
