"""Log lines of replicas: from the cluster while a replica is live (`tail`), from its row after it has ended (`stored`);
`search` filters lines by time and text."""
