"""What a gateway proposes to `admit`."""

from gateway.replica_view import FRESH_SECONDS, MAX_CANDIDATES, ReplicaView


def build_view(**replicas: tuple[int, int]) -> ReplicaView:
    view = ReplicaView()
    view.replace([(name, in_flight, maximum) for name, (in_flight, maximum) in replicas.items()], 0.0)
    return view


def test_a_view_that_has_seen_nothing_proposes_to_read_all():
    assert ReplicaView().propose((), 0.0) == []


def test_a_view_that_is_old_proposes_to_read_all():
    view = build_view(a=(0, 8))
    assert view.propose((), FRESH_SECONDS - 0.1) == ["a"]
    assert view.propose((), FRESH_SECONDS) == []
    assert view.propose((), FRESH_SECONDS) == ["a"]  # the first call of that moment reads for all


def test_candidates_are_the_least_loaded_in_order_of_their_load():
    view = build_view(a=(4, 8), b=(1, 8), c=(1, 2), d=(2, 8), e=(8, 8))
    assert view.propose((), 0.0)[:2] == ["b", "d"]


def test_an_excluded_replica_is_no_candidate():
    view = build_view(a=(0, 8), b=(1, 8))
    assert view.propose({"a"}, 0.0) == ["b"]
    assert view.propose((), 0.0)[0] == "a"


def test_a_full_replica_is_no_candidate():
    view = build_view(a=(8, 8), b=(3, 3))
    assert view.propose((), 0.0) == []


def test_proposals_without_an_answer_count():
    view = build_view(a=(0, 2), b=(0, 2), c=(0, 2))
    assert sorted(view.propose((), 0.0)[0] for _ in range(6)) == ["a", "a", "b", "b", "c", "c"]
    assert view.propose((), 0.0) == []
    view.withdraw("b")
    assert view.propose((), 0.0) == ["b"]


def test_answers_correct_the_view():
    view = build_view(a=(0, 8), b=(5, 8))
    view.correct("a", 7)
    assert view.propose((), 0.0) == ["b", "a"]
    view.correct("a", -1)
    assert view.propose((), 0.0) == ["b"]
    view.correct("unknown", 3)
    assert view.propose((), 0.0) == ["b"]


def test_many_changes_of_a_few_replicas_keep_the_order():
    view = build_view(a=(0, 100), b=(0, 100))
    for turn in range(1000):
        view.correct("a", turn % 90)
        view.correct("b", (turn + 45) % 90)
    assert view.propose((), 0.0) == ["a", "b"] or view.propose((), 0.0) == ["b", "a"]
    view.correct("a", 90)
    view.correct("b", 1)
    assert view.propose((), 0.0)[0] == "b"


def test_a_view_of_many_replicas_proposes_a_few():
    view = build_view(**{f"r{number}": (number % 7, 8) for number in range(200)})
    candidates = view.propose((), 0.0)
    assert len(candidates) == MAX_CANDIDATES
    assert {int(name[1:]) % 7 for name in candidates} == {0}
