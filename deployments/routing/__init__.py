"""What is exchanged with the gateways through Redis, in the records and keys of `gateway.contract`.

`publish` writes routes and replicas; `load` reads what the gateways count; `sleep` changes a deployment to asleep in
one atomic step.
"""
