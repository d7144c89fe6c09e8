"""What all tests start from."""

from django.contrib.auth.hashers import ScryptPasswordHasher
from django.db import connections
from django.test import TransactionTestCase
from hypothesis import settings

# The same hash made quickly: people are made by the thousand here, and a real one takes a third of a second of work.
ScryptPasswordHasher.work_factor = 2

# A deadline of milliseconds fails on a busy machine, and proves nothing about the property.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")

EMPTY_TABLES = """
DO $$
DECLARE
    name text;
    refuses_delete boolean;
    has_rows boolean;
BEGIN
    FOR name, refuses_delete IN
        SELECT oid::regclass, EXISTS (SELECT FROM pg_trigger WHERE tgrelid = pg_class.oid AND NOT tgisinternal)
        FROM pg_class
        WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace
        AND relname NOT IN ('django_migrations', 'django_content_type', 'auth_permission')
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', name) INTO has_rows;
        IF has_rows AND refuses_delete THEN
            EXECUTE format('TRUNCATE %s', name);
        ELSIF has_rows THEN
            EXECUTE format('DELETE FROM %s', name);
        END IF;
    END LOOP;
END $$
"""


def empty_tables(case: TransactionTestCase) -> None:
    """Delete the rows that a test has committed.

    Django's own way truncates every table, knows nothing of partitioned ones, and makes content types and permissions
    anew: a quarter of a second after each test.
    """
    for name in case._databases_names(include_mirrors=False):  # type: ignore[attr-defined]
        with connections[name].cursor() as cursor:
            cursor.execute(EMPTY_TABLES)


TransactionTestCase._fixture_teardown = empty_tables  # type: ignore[method-assign]
