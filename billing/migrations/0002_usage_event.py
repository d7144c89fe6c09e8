"""The table of facts: partitioned by day, append-only, its partitions made and dropped by the owner's functions."""

from django.db import migrations

CREATE = """
CREATE TABLE billing_usage_event (
    request_id uuid NOT NULL,
    admitted_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    organization_id uuid NOT NULL,
    owner_organization_id uuid NOT NULL,
    deployment_id uuid NOT NULL,
    replica_id uuid NOT NULL,
    key_id uuid NOT NULL,
    user_id uuid NOT NULL,
    gateway_id varchar(64) NOT NULL,
    model varchar(200) NOT NULL,
    stream boolean NOT NULL,
    outcome varchar(20) NOT NULL,
    status smallint NOT NULL,
    input_tokens bigint NOT NULL,
    cached_input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    estimated boolean NOT NULL,
    ttft_seconds double precision,
    PRIMARY KEY (request_id, admitted_at)
) PARTITION BY RANGE (admitted_at);

CREATE INDEX ON billing_usage_event (organization_id, admitted_at);
CREATE INDEX ON billing_usage_event (deployment_id, admitted_at);

CREATE FUNCTION billing_ensure_usage_partition(day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    partition text := 'billing_usage_event_' || to_char(day, 'YYYYMMDD');
BEGIN
    -- Looked up first: creating a partition locks the table that every insert needs.
    IF to_regclass('public.' || partition) IS NULL THEN
        EXECUTE format(
            'CREATE TABLE IF NOT EXISTS public.%I PARTITION OF public.billing_usage_event FOR VALUES FROM (%L) TO (%L)',
            partition, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
    END IF;
END $$;

CREATE FUNCTION billing_drop_usage_partitions(before date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    partition text;
    dropped integer := 0;
    -- Whoever may call this may not shorten how long facts are kept.
    until date := least(before, (now() AT TIME ZONE 'UTC')::date - 35);
BEGIN
    FOR partition IN
        SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'public.billing_usage_event'::regclass
    LOOP
        IF right(partition, 8) < to_char(until, 'YYYYMMDD') THEN
            EXECUTE format('DROP TABLE %s', partition);
            dropped := dropped + 1;
        END IF;
    END LOOP;
    RETURN dropped;
END $$;

REVOKE ALL ON FUNCTION billing_ensure_usage_partition(date), billing_drop_usage_partitions(date) FROM PUBLIC;

CREATE FUNCTION billing_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER usage_event_is_append_only BEFORE UPDATE OR DELETE ON billing_usage_event
FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'console_app') THEN
        REVOKE UPDATE, DELETE, TRUNCATE ON billing_usage_event FROM console_app;
        GRANT SELECT, INSERT ON billing_usage_event TO console_app;
        GRANT EXECUTE ON FUNCTION billing_ensure_usage_partition(date), billing_drop_usage_partitions(date)
            TO console_app;
    END IF;
END $$;
"""

DROP = """
DROP TABLE billing_usage_event;
DROP FUNCTION billing_ensure_usage_partition(date);
DROP FUNCTION billing_drop_usage_partitions(date);
DROP FUNCTION billing_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial")]
    operations = [migrations.RunSQL(CREATE, DROP)]
