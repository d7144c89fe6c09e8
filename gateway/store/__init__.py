"""The gateway's side of Redis: a pipelining client of its own and the scripts that it runs.

`address` parses REDIS_URL, `resp` writes commands, `client` keeps one connection and answers by callbacks, `scripts`
loads the Lua files of `gateway/scripts`.
"""
