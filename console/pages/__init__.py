"""What pages show, read once and put into words: values that templates print and sockets push again."""
