-- Artifacts are kept as long as a stack may still want them: those of its last ten revisions, of its last ten verified ones, and of the
-- one that serves. Older revisions stay in the history without what they ran from.
CREATE OR REPLACE FUNCTION unused_artifacts(before timestamptz) RETURNS SETOF text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH ranked AS (
        SELECT r.artifacts, r.number = s.verified_revision AS serves,
               row_number() OVER (PARTITION BY r.tenant_id, r.stack ORDER BY r.number DESC) AS place,
               row_number() OVER (PARTITION BY r.tenant_id, r.stack, r.verified_at IS NULL ORDER BY r.number DESC) AS among
        FROM public.revisions r JOIN public.stacks s ON (s.tenant_id, s.id) = (r.tenant_id, r.stack)
    ), wanted AS (
        SELECT DISTINCT unnest(artifacts) AS hash FROM ranked WHERE serves OR place <= 10 OR among <= 10
    )
    SELECT a.hash FROM public.artifacts a
    WHERE a.last_used_at < before AND NOT EXISTS (SELECT FROM wanted w WHERE w.hash = a.hash)
$$;
