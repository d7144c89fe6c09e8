"""The simulator: a program with vLLM's HTTP API that needs no GPU.

`engine` is how the console launches it. The program, `python -m deployments.engines.simulator`, consists of `server`
(process), `http_api` (routes), `generator` (pace and concurrency), `metrics` and `request_log`, and of pure modules:
`generation_requests` and `embeddings` on `request_json`, `responses`, `served_models`, `tokens`.
"""
