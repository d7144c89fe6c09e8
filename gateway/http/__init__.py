"""HTTP/1.1 on asyncio protocols, towards clients and towards replicas. Knows nothing of OpenAI, keys or Redis.

```
client ──► client_connection.ClientConnection ── start_exchange(head, response) ──► Exchange      (the caller's)
                 │  heads.RequestHeadParser, chunked_body                               │
                 └─ clients.ClientEndpoint: limits, deadlines, listener                 ▼
replica ◄── replica_connection.ReplicaConnection ◄── replica_pool.ReplicaPool.send(…, listener)
                    heads.parse_response_head, chunked_body
```

Everything is a callback; no task, future or timer is made for an ordinary request. A sweep four times a second watches
all deadlines. Modules: `heads`* and `chunked_body`* parse, the others hold connections (* pure).
"""
