"""The gateway: the OpenAI API in front of the replicas. docs/gateway.md has its behaviour.

```
__main__ → server, lifecycle            one process: listener, drain, stop
           routes                       a request's head → its exchange
           inference                    the exchange: a state machine of callbacks, from key to settlement
             key_cache, route_table     who calls, and what (published_changes keeps them current)
             request_validation, …      what the body may contain (body_workers: large ones)
             request_queue              waiting for a slot (keepalive, queue_reports)
             rate_limits                what a request may use, per minute
             slots, replica_view        a slot of a replica, granted by a script in Redis
             response_relay             the replica's response (stream_editor, sse, usage_metering)
             settlements                the slot is free again, the usage recorded (settlement_spool)
             heartbeat, count_reports   what other gateways need to settle if this one dies
http/                                   HTTP/1.1 towards clients and replicas
store/, scripts/                        the client of Redis and its Lua scripts
contract                                the records that gateway and console share
```
"""
