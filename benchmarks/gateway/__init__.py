"""Compares the gateway with nginx `proxy_pass` and the Rust vllm-router, interleaved in one run on pinned cores.

__main__          command line: runs the measurements, prints the tables, writes the JSON
measurements      what is measured and in which order: rounds of every server, one after the other
servers           starts nginx, vllm-router, the gateway with its Valkey and its records, and the replicas
load              the callers: 64 at a time, a fixed number a second, paced streams, held streams
replica           the replica behind all servers, a process of its own
processes         CPU time, memory and cores of processes, from the kernel
statistics        median, spread and percentiles
verdicts          goals and floors, and what the figures say of them
tables            the printed report
profiling         where the gateway spends its CPU time, by module, function and line
profiled_gateway  the gateway with a sampler, started by `--profile`
"""
