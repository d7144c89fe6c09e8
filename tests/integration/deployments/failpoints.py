"""A worker that dies at a named point of its pass."""


class Killed(BaseException):
    """The worker died here."""


FAILPOINTS = (
    "claimed", "before_intent", "after_intent", "before_start", "after_start", "before_stop", "after_stop",
    "before_outcome", "after_outcome",
)  # fmt: skip


def dies_at(where):
    def failpoint(name):
        if name == where:
            raise Killed

    return failpoint
