"""Privileges of the application's database role, checked by connecting as that role."""

from collections.abc import Iterator

import psycopg
import pytest
from django.db import connection

from console.machine import database_roles
from tests.servers import OWNER, PASSWORD, POSTGRES_PORT

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def application() -> Iterator[psycopg.Connection]:
    """Connected as console_app to this test's database, after the grants that `up` makes."""
    url = f"postgresql://{OWNER}:{PASSWORD}@127.0.0.1:{POSTGRES_PORT}/{connection.settings_dict['NAME']}"
    database_roles.grant_default_privileges(url)
    with connection.cursor() as cursor:
        cursor.execute("GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO console_app")
    database_roles.grant_table_privileges(url)
    with psycopg.connect(
        database_roles.build_role_url(url, database_roles.APP, PASSWORD), autocommit=True
    ) as application_connection:
        yield application_connection


def test_it_is_not_a_superuser_and_owns_nothing(application):
    query = "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
    assert application.execute(query).fetchone() == (False, False, False)
    owned = "SELECT count(*) FROM pg_class WHERE relowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)"
    assert application.execute(owned).fetchone() == (0,)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE billing_usage_event SET model = ''",
        "DELETE FROM billing_usage_event",
        "TRUNCATE billing_usage_event",
        "DELETE FROM django_migrations",
        "CREATE TABLE mine (id int)",
        "DROP TABLE billing_usagehour",
        "ALTER TABLE billing_usage_event DISABLE TRIGGER ALL",
    ],
)
def test_it_may_not_rewrite_facts_or_the_schema(application, statement):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        application.execute(statement)


def test_partitions_made_later_are_as_append_only_as_their_parent(application):
    application.execute("SELECT billing_ensure_usage_partition('2027-01-05')")
    application.execute("SELECT count(*) FROM billing_usage_event_20270105")
    for statement in ("DELETE FROM billing_usage_event_20270105", "UPDATE billing_usage_event_20270105 SET model = ''"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            application.execute(statement)


def test_it_cannot_drop_facts_that_are_still_to_be_kept(application):
    application.execute("SELECT billing_ensure_usage_partition(current_date)")
    application.execute("SELECT billing_drop_usage_partitions('2999-01-01')")
    query = "SELECT to_regclass('billing_usage_event_' || to_char(current_date, 'YYYYMMDD')) IS NOT NULL"
    assert application.execute(query).fetchone() == (True,)


def test_its_temporary_tables_cannot_stand_in_for_those_of_the_owner(application):
    application.execute("CREATE TEMP TABLE billing_usage_event (LIKE billing_usage_event)")
    application.execute("SELECT billing_ensure_usage_partition('2027-01-06')")
    assert application.execute("SELECT to_regclass('public.billing_usage_event_20270106')").fetchone() != (None,)


def test_it_may_change_rows_of_every_other_table(application):
    assert application.execute("DELETE FROM billing_usagehour").rowcount == 0
    assert application.execute("UPDATE deployments_deployment SET name = name").rowcount == 0
