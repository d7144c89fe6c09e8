"""Log lines of replicas: `log_reader` reads them from the cluster while a replica is live and from its row afterwards,
which keeps them as `stored_format` says; `line_query` filters them by time and text."""
