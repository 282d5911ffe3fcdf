-- Bounds: what grows with each deploy has an end, and connections are promised once.
--
-- What always holds:
--   * of each stack the newest revisions stay, those that a rollback goes to included, with their operations and journals; older ones are
--     collected by collect_history(), the only way in which anything leaves the journal
--   * what stacks of a target were promised of its database server's connections is written in the transaction that begins the operation

-- The connections that the last verified revision has, and that the operation under way wants. What counts is the greater one.
ALTER TABLE stacks
    ADD COLUMN connections_held   integer NOT NULL DEFAULT 0 CHECK (connections_held >= 0),
    ADD COLUMN connections_wanted integer NOT NULL DEFAULT 0 CHECK (connections_wanted >= 0);
GRANT UPDATE (connections_held, connections_wanted) ON stacks TO freehold_tenant;

CREATE FUNCTION connection_promises(wanted_target text) RETURNS TABLE (stack uuid, connections integer)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT id, greatest(connections_held, connections_wanted) FROM public.stacks
    WHERE target = wanted_target AND greatest(connections_held, connections_wanted) > 0
$$;

CREATE INDEX operations_of_key ON operations (idempotency_key, created_at) WHERE idempotency_key IS NOT NULL;

-- A definition that nothing refers to goes, but not while a plan that was just made is about to.
ALTER TABLE definitions ADD COLUMN last_used_at timestamptz NOT NULL DEFAULT clock_timestamp();
GRANT UPDATE (last_used_at) ON definitions TO freehold_tenant;

CREATE POLICY owner_collects ON revisions FOR DELETE TO freehold_owner USING (true);
CREATE POLICY owner_collects ON operations TO freehold_owner USING (true);
CREATE POLICY owner_collects ON journal TO freehold_owner USING (true);
CREATE POLICY owner_looks_up ON plans FOR SELECT TO freehold_owner USING (true);

-- Append-only, whoever asks; but for what collect_history() takes out of the journal.
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'journal' AND current_user = 'freehold_owner'
       AND current_setting('freehold.collecting', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

-- Removes at most `most` revisions, and as many operations: those behind the `kept` newest of their stack, and the operations of stacks
-- that have been gone for `gone`. What serves, what a rollback without a number goes to, and what is under way stays however old it is.
-- Returns how many it removed.
CREATE FUNCTION collect_history(kept integer, gone interval, most integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    ids     uuid[];
    removed bigint;
    total   bigint := 0;
BEGIN
    WITH ranked AS (
        SELECT tenant_id, stack, number, verified_at,
               row_number() OVER (PARTITION BY tenant_id, stack ORDER BY number DESC) AS place,
               row_number() OVER (PARTITION BY tenant_id, stack, verified_at IS NULL ORDER BY number DESC) AS place_alike
        FROM public.revisions
    ), surplus AS (
        SELECT ranked.tenant_id, ranked.stack, ranked.number FROM ranked
        JOIN public.stacks ON stacks.tenant_id = ranked.tenant_id AND stacks.id = ranked.stack
        WHERE place > kept AND (ranked.verified_at IS NULL OR place_alike > 2)
        AND ranked.number <> stacks.revision AND ranked.number IS DISTINCT FROM stacks.verified_revision
        LIMIT most
    )
    DELETE FROM public.revisions USING surplus
    WHERE revisions.tenant_id = surplus.tenant_id AND revisions.stack = surplus.stack AND revisions.number = surplus.number;
    GET DIAGNOSTICS removed = ROW_COUNT;
    total := total + removed;

    SELECT array_agg(id) INTO ids FROM (
        SELECT ranked.id FROM (
            SELECT id, tenant_id, stack, finished_at,
                   row_number() OVER (PARTITION BY tenant_id, stack ORDER BY created_at DESC, id DESC) AS place
            FROM public.operations
        ) AS ranked
        -- As long as idempotency keys are kept, the operation of a key is.
        WHERE finished_at < clock_timestamp() - interval '1 day'
        AND NOT EXISTS (SELECT FROM public.revisions WHERE revisions.tenant_id = ranked.tenant_id
                        AND revisions.stack = ranked.stack AND revisions.operation = ranked.id)
        AND (place > kept OR finished_at < clock_timestamp() - gone
             AND NOT EXISTS (SELECT FROM public.stacks WHERE stacks.tenant_id = ranked.tenant_id AND stacks.id = ranked.stack))
        LIMIT most
    ) AS found;
    PERFORM set_config('freehold.collecting', 'on', true);
    DELETE FROM public.journal USING public.operations
    WHERE operations.id = ANY (ids) AND journal.tenant_id = operations.tenant_id AND journal.operation = operations.id;
    PERFORM set_config('freehold.collecting', 'off', true);
    DELETE FROM public.operations WHERE id = ANY (ids);
    GET DIAGNOSTICS removed = ROW_COUNT;
    total := total + removed;

    DELETE FROM public.definitions
    WHERE last_used_at < clock_timestamp() - interval '2 days'
    AND NOT EXISTS (SELECT FROM public.revisions WHERE revisions.definition = definitions.hash)
    AND NOT EXISTS (SELECT FROM public.stacks WHERE stacks.definition = definitions.hash)
    AND NOT EXISTS (SELECT FROM public.plans WHERE plans.plan ->> 'definition' = definitions.hash);
    RETURN total;
END $$;

REVOKE ALL ON FUNCTION connection_promises, collect_history FROM PUBLIC;
GRANT EXECUTE ON FUNCTION connection_promises TO freehold_tenant;
GRANT EXECUTE ON FUNCTION collect_history TO freehold_engine;
