import pytest

from accounts.roles import Right, Role, Scope, get_rights, is_scope_granted

ROLES_BY_RIGHT = [
    (Right.READ, "viewer member admin owner"),
    (Right.CALL, "member admin owner"),
    (Right.MANAGE_OWN_KEYS, "member admin owner"),
    (Right.DEPLOY, "admin owner"),
    (Right.MANAGE_ORGANIZATION_KEYS, "admin owner"),
    (Right.MANAGE_MEMBERS, "owner"),
    (Right.DECLARE_REPLICAS_GONE, ""),
]


@pytest.mark.parametrize(("right", "roles"), ROLES_BY_RIGHT, ids=[right for right, _ in ROLES_BY_RIGHT])
def test_each_right_is_granted_to_the_listed_roles(right: Right, roles: str):
    granted = {role for role in Role if right in get_rights(role, is_operator=False)}
    assert granted == {Role(name) for name in roles.split()}


def test_every_right_is_in_the_table():
    assert {right for right, _ in ROLES_BY_RIGHT} == set(Right)


def test_a_user_who_is_not_a_member_has_no_rights_and_an_operator_has_all():
    assert get_rights(None, is_operator=False) == frozenset()
    assert get_rights(None, is_operator=True) == frozenset(Right)


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
def test_scopes_grant_what_they_name(scopes: list[str], needed: Scope, allowed: bool):
    assert is_scope_granted(scopes, needed) is allowed
