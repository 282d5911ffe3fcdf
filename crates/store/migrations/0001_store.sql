-- The store's first schema. Run by freehold_owner, who owns all of it; the names of the three roles are replaced if the
-- platform was given other ones (names.rs).
--
-- What always holds:
--   * each row of a tenant carries tenant_id, and row-level security is forced on its table
--   * freehold_tenant sees the rows of the tenant that its transaction names (SET LOCAL), or nothing
--   * freehold_engine has explicit policies on the queue, leases, journal and resources, and nothing else
--   * journal and audit are append-only, for everybody
--   * rows of a stack go with the stack; operations, journal and audit stay
-- Documents are `json`, not `jsonb`: they are read whole, and jsonb refuses \u0000, which a program's log may well contain.

-- Content-addressed and shared by all stacks of an app, so no tenant's rows: definitions and artifacts belong to the
-- operator of the platform. A tenant's rows refer to them by hash.
CREATE TABLE definitions (
    hash       text PRIMARY KEY CHECK (hash ~ '^[0-9a-f]{64}$'),
    app        text NOT NULL,
    source     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE artifacts (
    hash         text PRIMARY KEY CHECK (hash ~ '^sha256:[0-9a-f]{64}$'),
    size         bigint NOT NULL CHECK (size >= 0),
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_used_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Facts about the platform itself: the port of its PostgreSQL, the name of its target.
CREATE TABLE settings (
    name       text PRIMARY KEY,
    value      text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Tells a right master key from a wrong one. One row, written with the first key.
CREATE TABLE master_key (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    check_value text NOT NULL CHECK (check_value ~ '^[0-9a-f]{64}$'),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE tenants (
    tenant_id  uuid PRIMARY KEY,
    -- '@platform' can't be the name of a tenant: names consist of a-z, 0-9 and -.
    name       text NOT NULL UNIQUE CHECK (name = '@platform' OR name ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((name = '@platform') = (tenant_id = '00000000-0000-8000-8000-667265656864'))
);
INSERT INTO tenants (tenant_id, name) VALUES ('00000000-0000-8000-8000-667265656864', '@platform');

-- A tenant's data keys, wrapped by the master key.
CREATE TABLE data_keys (
    tenant_id  uuid NOT NULL REFERENCES tenants,
    number     integer NOT NULL CHECK (number > 0),
    wrapped    bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, number)
);

CREATE TABLE stacks (
    tenant_id         uuid NOT NULL REFERENCES tenants,
    id                uuid NOT NULL UNIQUE,
    target            text NOT NULL,
    app               text NOT NULL,
    kind              text NOT NULL CHECK (kind IN ('tenant', 'preview', 'stage')),
    name              text NOT NULL,
    -- new: only named so far (a secret was set before the first deploy).
    state             text NOT NULL DEFAULT 'new'
                      CHECK (state IN ('new', 'deploying', 'ready', 'failed', 'destroying', 'suspended')),
    -- Each plan that is carried out adds one.
    generation        bigint NOT NULL DEFAULT 0 CHECK (generation >= 0),
    revision          bigint NOT NULL DEFAULT 0 CHECK (revision >= 0),
    verified_revision bigint CHECK (verified_revision BETWEEN 1 AND revision),
    definition        text REFERENCES definitions,
    -- The last request: what sticks.
    request           json,
    outputs           json,
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, id),
    -- A stack of kind tenant belongs to the tenant of its name, any other to the platform; so this is unique over all tenants.
    UNIQUE (tenant_id, target, app, kind, name),
    CHECK ((kind = 'tenant') = (tenant_id <> '00000000-0000-8000-8000-667265656864')),
    CHECK ((state = 'new') = (generation = 0))
);

CREATE TABLE revisions (
    tenant_id   uuid NOT NULL,
    stack       uuid NOT NULL,
    number      bigint NOT NULL CHECK (number > 0),
    definition  text NOT NULL REFERENCES definitions,
    request     json NOT NULL,
    graph       json NOT NULL,
    -- Digests of the secrets at that time, by name. Never their values.
    secrets     json NOT NULL,
    artifacts   text[] NOT NULL,
    operation   uuid NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    verified_at timestamptz,
    PRIMARY KEY (tenant_id, stack, number),
    FOREIGN KEY (tenant_id, stack) REFERENCES stacks (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX revisions_definition ON revisions (definition);

CREATE TABLE plans (
    tenant_id  uuid NOT NULL REFERENCES tenants,
    id         uuid NOT NULL,
    -- Not a foreign key: the plan of a new stack comes before the stack.
    stack      uuid NOT NULL,
    plan       json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL DEFAULT clock_timestamp() + interval '24 hours',
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX plans_expired ON plans (expires_at);

CREATE TABLE operations (
    tenant_id           uuid NOT NULL REFERENCES tenants,
    id                  uuid NOT NULL UNIQUE,
    -- Not a foreign key: the operation that destroys a stack outlives it.
    stack               uuid NOT NULL,
    -- The stack's name for people: guestbook/tenant/acme.
    subject             text NOT NULL,
    purpose             text NOT NULL CHECK (purpose IN ('deploy', 'rollback', 'destroy')),
    plan_id             uuid NOT NULL,
    plan                json NOT NULL,
    revision            bigint CHECK (revision > 0),
    state               text NOT NULL DEFAULT 'queued'
                        CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    requested_by        text NOT NULL,
    idempotency_key     text,
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at          timestamptz,
    finished_at         timestamptz,
    cancel_requested_at timestamptz,
    cancel_requested_by text,
    outputs             json,
    timings             json,
    failure             json,
    PRIMARY KEY (tenant_id, id),
    CHECK ((purpose = 'destroy') = (revision IS NULL)),
    CHECK ((state IN ('queued', 'running')) = (finished_at IS NULL)),
    CHECK (state <> 'running' OR started_at IS NOT NULL)
);
CREATE UNIQUE INDEX operations_one_unfinished ON operations (tenant_id, stack) WHERE state IN ('queued', 'running');
CREATE UNIQUE INDEX operations_one_per_plan ON operations (tenant_id, plan_id);
CREATE INDEX operations_of_stack ON operations (tenant_id, stack, created_at DESC);
CREATE INDEX operations_unfinished ON operations (created_at) WHERE state IN ('queued', 'running');

CREATE TABLE journal (
    tenant_id uuid NOT NULL,
    operation uuid NOT NULL,
    seq       bigint NOT NULL CHECK (seq > 0),
    -- Which append wrote it, and its place therein: an append that is repeated, because its answer was lost, meets its own rows.
    batch     uuid NOT NULL,
    place     bigint NOT NULL CHECK (place > 0),
    version   smallint NOT NULL CHECK (version > 0),
    record    json NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, operation, seq),
    CONSTRAINT journal_batch UNIQUE (tenant_id, operation, batch, place),
    FOREIGN KEY (tenant_id, operation) REFERENCES operations (tenant_id, id)
);

CREATE TABLE resources (
    tenant_id  uuid NOT NULL,
    stack      uuid NOT NULL,
    id         text NOT NULL,
    type       text NOT NULL,
    identity   text NOT NULL,
    object     text,
    body       json NOT NULL,
    depends_on json NOT NULL,
    state      text NOT NULL CHECK (state IN ('pending', 'applied')),
    operation  uuid NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, stack, id),
    FOREIGN KEY (tenant_id, stack) REFERENCES stacks (tenant_id, id) ON DELETE CASCADE
);

-- One row for each stack. Rewritten with each append and renewal: room in the page keeps that cheap.
CREATE TABLE leases (
    tenant_id  uuid NOT NULL,
    stack      uuid NOT NULL,
    operation  uuid UNIQUE,
    -- NULL: nobody holds it.
    holder     text,
    fence      bigint NOT NULL DEFAULT 0 CHECK (fence >= 0),
    -- The number of records in the operation's journal.
    seq        bigint NOT NULL DEFAULT 0 CHECK (seq >= 0),
    expires_at timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (tenant_id, stack),
    FOREIGN KEY (tenant_id, stack) REFERENCES stacks (tenant_id, id) ON DELETE CASCADE
) WITH (fillfactor = 40);

-- Names of the outside world. Unique over all tenants, because that world is shared; who holds a name is told by
-- claim_holders().
CREATE TABLE claims (
    tenant_id  uuid NOT NULL,
    stack      uuid NOT NULL,
    target     text NOT NULL,
    scope      text NOT NULL,
    name       text NOT NULL,
    -- The last revision that wants it.
    revision   bigint NOT NULL CHECK (revision > 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, stack, target, scope, name),
    CONSTRAINT claims_name UNIQUE (target, scope, name),
    FOREIGN KEY (tenant_id, stack) REFERENCES stacks (tenant_id, id) ON DELETE CASCADE
);

CREATE TABLE secrets (
    tenant_id uuid NOT NULL,
    stack     uuid NOT NULL,
    name      text NOT NULL,
    version   integer NOT NULL CHECK (version > 0),
    -- The same for all versions; a secret that is deleted and made anew gets another one.
    identity  uuid NOT NULL,
    sealed    bytea NOT NULL,
    digest    text NOT NULL CHECK (digest ~ '^[0-9a-f]{32}$'),
    generated boolean NOT NULL,
    set_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    set_by    text NOT NULL,
    PRIMARY KEY (tenant_id, stack, name, version),
    FOREIGN KEY (tenant_id, stack) REFERENCES stacks (tenant_id, id) ON DELETE CASCADE
);

CREATE TABLE audit (
    tenant_id uuid NOT NULL REFERENCES tenants,
    id        bigint GENERATED ALWAYS AS IDENTITY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor     text NOT NULL,
    action    text NOT NULL,
    stack     uuid,
    subject   text NOT NULL,
    operation uuid,
    detail    json NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX audit_of_stack ON audit (tenant_id, stack, id);

CREATE TABLE idempotency (
    tenant_id   uuid NOT NULL REFERENCES tenants,
    key         text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint text NOT NULL,
    status      integer CHECK (status BETWEEN 100 AND 599),
    response    json,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at  timestamptz NOT NULL DEFAULT clock_timestamp() + interval '24 hours',
    PRIMARY KEY (tenant_id, key),
    CHECK ((status IS NULL) = (response IS NULL))
);
CREATE INDEX idempotency_expired ON idempotency (expires_at);

-- Append-only, whoever asks.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER journal_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Row-level security, the same for all tables of tenants. The sub-select is evaluated once for each statement; an unset
-- tenant is '' after a transaction and NULL before the first, and sees nothing either way. Operators' listings set
-- freehold.operator instead, and may only look.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['tenants', 'data_keys', 'stacks', 'revisions', 'plans', 'operations', 'journal', 'resources',
                                'leases', 'claims', 'secrets', 'audit', 'idempotency'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant_isolation ON %I TO freehold_tenant
            USING (tenant_id = (SELECT nullif(current_setting(''freehold.tenant_id'', true), '''')::uuid))
            WITH CHECK (tenant_id = (SELECT nullif(current_setting(''freehold.tenant_id'', true), '''')::uuid))', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['tenants', 'stacks', 'revisions', 'plans', 'operations', 'resources', 'claims', 'audit'] LOOP
        EXECUTE format('CREATE POLICY operator_looks ON %I FOR SELECT TO freehold_tenant
            USING ((SELECT current_setting(''freehold.operator'', true)) = ''on'')', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['operations', 'journal', 'resources', 'leases'] LOOP
        EXECUTE format('CREATE POLICY engine_works ON %I TO freehold_engine USING (true) WITH CHECK (true)', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['plans', 'idempotency'] LOOP
        EXECUTE format('CREATE POLICY engine_expires ON %I FOR DELETE TO freehold_engine
            USING (expires_at < clock_timestamp())', name);
    END LOOP;
END $$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO freehold_tenant, freehold_engine;

GRANT SELECT, INSERT ON definitions TO freehold_tenant;
GRANT SELECT, INSERT, UPDATE (last_used_at) ON artifacts TO freehold_tenant;
GRANT SELECT, DELETE ON artifacts TO freehold_engine;
GRANT SELECT, INSERT, UPDATE ON settings TO freehold_engine;
GRANT SELECT ON settings TO freehold_tenant;

GRANT SELECT ON tenants TO freehold_tenant;
GRANT SELECT, INSERT ON data_keys TO freehold_tenant;
GRANT SELECT, INSERT, DELETE ON stacks TO freehold_tenant;
GRANT UPDATE (state, generation, revision, verified_revision, definition, request, outputs, changed_at) ON stacks TO freehold_tenant;
GRANT SELECT, INSERT, UPDATE (verified_at) ON revisions TO freehold_tenant;
GRANT SELECT, INSERT ON plans TO freehold_tenant;
GRANT SELECT, INSERT ON operations TO freehold_tenant;
GRANT UPDATE (state, finished_at, cancel_requested_at, cancel_requested_by, outputs, timings, failure) ON operations TO freehold_tenant;
GRANT SELECT ON journal, resources TO freehold_tenant;
GRANT SELECT, INSERT, UPDATE ON leases TO freehold_tenant;
GRANT SELECT, INSERT, UPDATE (revision), DELETE ON claims TO freehold_tenant;
GRANT SELECT, INSERT, DELETE ON secrets TO freehold_tenant;
GRANT SELECT, INSERT ON audit TO freehold_tenant;
GRANT SELECT, INSERT, UPDATE (status, response), DELETE ON idempotency TO freehold_tenant;

GRANT SELECT, UPDATE (state, started_at) ON operations TO freehold_engine;
GRANT SELECT, INSERT ON journal TO freehold_engine;
GRANT SELECT, INSERT, UPDATE, DELETE ON resources TO freehold_engine;
GRANT SELECT, UPDATE ON leases TO freehold_engine;
GRANT DELETE ON plans, idempotency TO freehold_engine;

-- What has to be known before a tenant's transaction can begin, or across tenants: names and ids, nothing else. These
-- functions run as the owner, who is under row-level security as well and gets just these policies.
CREATE POLICY owner_looks_up ON tenants TO freehold_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_looks_up ON stacks FOR SELECT TO freehold_owner USING (true);
CREATE POLICY owner_looks_up ON claims FOR SELECT TO freehold_owner USING (true);
CREATE POLICY owner_looks_up ON revisions FOR SELECT TO freehold_owner USING (true);

CREATE FUNCTION tenant_named(wanted text) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT tenant_id FROM public.tenants WHERE name = wanted
$$;

CREATE FUNCTION make_tenant(wanted text, id uuid) RETURNS uuid
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    found uuid;
BEGIN
    INSERT INTO public.tenants (tenant_id, name) VALUES (id, wanted) ON CONFLICT (name) DO NOTHING;
    SELECT tenant_id INTO STRICT found FROM public.tenants WHERE name = wanted;
    RETURN found;
END $$;

CREATE FUNCTION tenant_of_stack(wanted uuid) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT tenant_id FROM public.stacks WHERE id = wanted
$$;

CREATE FUNCTION claim_holders(wanted_target text, scopes text[], names text[])
    RETURNS TABLE (scope text, name text, stack uuid, holder text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT claims.scope, claims.name, claims.stack, concat_ws('/', stacks.app, stacks.kind, stacks.name)
    FROM unnest(scopes, names) AS wanted (scope, name)
    JOIN public.claims ON claims.target = wanted_target AND claims.scope = wanted.scope AND claims.name = wanted.name
    JOIN public.stacks ON stacks.tenant_id = claims.tenant_id AND stacks.id = claims.stack
$$;

-- Artifacts that no revision of any stack refers to and nobody has used since `before`.
CREATE FUNCTION unused_artifacts(before timestamptz) RETURNS SETOF text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT hash FROM public.artifacts
    WHERE last_used_at < before
    AND NOT EXISTS (SELECT FROM public.revisions WHERE artifacts.hash = ANY (revisions.artifacts))
$$;

REVOKE ALL ON FUNCTION tenant_named, make_tenant, tenant_of_stack, claim_holders, unused_artifacts, refuse_change FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenant_named, make_tenant, tenant_of_stack, claim_holders TO freehold_tenant;
GRANT EXECUTE ON FUNCTION unused_artifacts TO freehold_engine;
