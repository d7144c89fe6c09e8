import pytest

from accounts.roles import Right, Role, Scope, rights_of, scopes_allow

WHO_MAY = [
    (Right.READ, "viewer member admin owner"),
    (Right.CALL, "member admin owner"),
    (Right.MANAGE_OWN_KEYS, "member admin owner"),
    (Right.DEPLOY, "admin owner"),
    (Right.MANAGE_ORGANIZATION_KEYS, "admin owner"),
    (Right.MANAGE_MEMBERS, "owner"),
]


@pytest.mark.parametrize(("right", "roles"), WHO_MAY, ids=[right for right, _ in WHO_MAY])
def test_each_right_belongs_to_these_roles(right: Right, roles: str):
    held = {role for role in Role if right in rights_of(role, is_operator=False)}
    assert held == {Role(name) for name in roles.split()}


def test_every_right_is_in_the_table():
    assert {right for right, _ in WHO_MAY} == set(Right)


def test_who_is_not_a_member_may_nothing_and_an_operator_everything():
    assert rights_of(None, is_operator=False) == frozenset()
    assert rights_of(None, is_operator=True) == frozenset(Right)


@pytest.mark.parametrize(
    ("scopes", "needed", "allowed"),
    [
        (["manage"], Scope.READ, True),
        (["read"], Scope.MANAGE, False),
        (["inference"], Scope.READ, False),
        (["manage"], Scope.INFERENCE, False),
        (["inference"], Scope.INFERENCE, True),
    ],
    ids=[
        "manage_reads",
        "read_does_not_manage",
        "inference_does_not_read",
        "manage_does_not_call",
        "inference_calls",
    ],
)
def test_scopes_reach_what_they_name(scopes: list[str], needed: Scope, allowed: bool):
    assert scopes_allow(scopes, needed) is allowed
