"""Live updates of open pages: WebSocket consumers, and the fragments that they push, rendered once for all viewers with
equal rights."""
