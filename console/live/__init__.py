"""What moves on open pages: sockets with their feeds and fragments, and the two streams, log and playground."""
