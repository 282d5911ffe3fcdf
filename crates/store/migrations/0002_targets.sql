-- Targets: the clusters that stacks are deployed to. This machine (`local`) is none of them: it is where the platform runs.
--
-- What always holds:
--   * targets and their credentials are the operator's: reached in transactions of the platform's tenant, and looked at by
--     operators' listings; no customer's transaction sees any of it
--   * credentials are sealed under the data key of the platform's tenant, each for its own row
--   * a stack is made on a target that is there, and a target that has stacks isn't removed: who makes a stack locks the target's row

CREATE TABLE targets (
    name       text PRIMARY KEY CHECK (name <> 'local' AND name ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
    kind       text NOT NULL CHECK (kind IN ('kubernetes')),
    -- What was found out, as stacks are expanded with it.
    facts      json NOT NULL,
    -- What was asked for, without credentials: what is left out the next time stays as it was.
    settings   json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE target_credentials (
    target     text NOT NULL REFERENCES targets ON DELETE CASCADE,
    purpose    text NOT NULL CHECK (purpose IN ('kubeconfig', 'database', 'registry')),
    sealed     bytea NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (target, purpose)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['targets', 'target_credentials'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY platform_only ON %I TO freehold_tenant
            USING ((SELECT current_setting(''freehold.tenant_id'', true)) = ''00000000-0000-8000-8000-667265656864'')
            WITH CHECK ((SELECT current_setting(''freehold.tenant_id'', true)) = ''00000000-0000-8000-8000-667265656864'')', name);
    END LOOP;
END $$;
CREATE POLICY operator_looks ON targets FOR SELECT TO freehold_tenant
    USING ((SELECT current_setting('freehold.operator', true)) = 'on');
CREATE POLICY owner_looks_up ON targets TO freehold_owner USING (true);

GRANT SELECT, INSERT, UPDATE (kind, facts, settings, changed_at), DELETE ON targets TO freehold_tenant;
GRANT SELECT, INSERT, DELETE ON target_credentials TO freehold_tenant;

-- Locks the target's row against being removed until the stack is there. Runs as the owner: whoever makes a stack need not see targets.
CREATE FUNCTION refuse_unknown_target() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.target <> 'local' THEN
        PERFORM FROM public.targets WHERE name = NEW.target FOR KEY SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'there is no target %', NEW.target
                USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'stacks_target';
        END IF;
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION refuse_unknown_target FROM PUBLIC;
CREATE TRIGGER stacks_have_a_target BEFORE INSERT ON stacks FOR EACH ROW EXECUTE FUNCTION refuse_unknown_target();

-- Which target an operation works on, so that those of one that is away don't keep back the others. All there are by now are local. The
-- default is for the previous release, which works beside this one while it is replaced, and knows of no other target.
ALTER TABLE operations ADD COLUMN target text NOT NULL DEFAULT 'local';
