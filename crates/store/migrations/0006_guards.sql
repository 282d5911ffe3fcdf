-- Which tenants a target has, and a clock that isn't believed at once.
--
-- What always holds:
--   * where a target may have one tenant only, that is looked at in the transaction that begins the operation
--   * no line leaves the audit log within a day after the clock has jumped, or after nobody has looked at it for days

CREATE FUNCTION tenants_on(wanted_target text) RETURNS TABLE (name text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT DISTINCT stacks.name FROM public.stacks
    WHERE target = wanted_target AND kind = 'tenant' AND generation > 0 ORDER BY 1
$$;

-- Whether the clock may be believed by whoever deletes what is old by it. A clock that was put ahead by mistake is put right within a day.
CREATE FUNCTION believes_clock() RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    present  timestamptz := clock_timestamp();
    seen     timestamptz;
    believed timestamptz;
BEGIN
    SELECT value::timestamptz INTO seen FROM public.settings WHERE name = 'clock-seen';
    SELECT value::timestamptz INTO believed FROM public.settings WHERE name = 'clock-believed';
    IF present NOT BETWEEN seen - interval '1 hour' AND seen + interval '2 days' OR believed > present + interval '1 day' THEN
        believed := present + interval '1 day';
        INSERT INTO public.settings (name, value) VALUES ('clock-believed', believed::text)
        ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_at = present;
    END IF;
    INSERT INTO public.settings (name, value) VALUES ('clock-seen', present::text)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_at = present;
    RETURN coalesce(believed <= present, true);
END $$;

-- Removes at most `most` lines that are older than `kept`. Returns how many.
CREATE OR REPLACE FUNCTION collect_audit(kept interval, most integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    removed bigint;
BEGIN
    IF NOT public.believes_clock() THEN
        RETURN 0;
    END IF;
    PERFORM set_config('freehold.collecting', 'on', true);
    DELETE FROM public.audit USING (
        SELECT tenant_id, id FROM public.audit WHERE at < clock_timestamp() - kept ORDER BY at LIMIT most
    ) AS old WHERE audit.tenant_id = old.tenant_id AND audit.id = old.id;
    GET DIAGNOSTICS removed = ROW_COUNT;
    PERFORM set_config('freehold.collecting', 'off', true);
    RETURN removed;
END $$;

REVOKE ALL ON FUNCTION tenants_on, believes_clock FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenants_on TO freehold_tenant;
