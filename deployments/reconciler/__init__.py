"""The reconciler: brings what runs towards what is desired. Private to `deployments`.

A pass (`worker`) has three steps:

1. load: `leases.claim` takes due deployments, `observe.load` reads rows and clusters into one `Snapshot` each;
2. plan: `plan.plan` turns a snapshot into actions (pure, with `replica_policy`, `replica_count`, `rollout`, `backoff`);
3. apply: `execute.apply` writes the intent, calls the cluster and writes the outcome.

`store` is the only writer of observed and decided state.
"""
