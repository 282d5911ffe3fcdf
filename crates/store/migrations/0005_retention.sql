-- Lines of audit are kept for as long as the platform is told to, and then collected.
--
-- What always holds:
--   * collect_audit() is the only way in which a line leaves the audit log, and it takes the oldest

CREATE INDEX audit_at ON audit (at);
CREATE POLICY owner_collects ON audit TO freehold_owner USING (true) WITH CHECK (false);

-- Append-only, whoever asks; but for what collect_history() takes out of the journal, and collect_audit() out of the audit log.
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND TG_TABLE_NAME IN ('journal', 'audit') AND current_user = 'freehold_owner'
       AND current_setting('freehold.collecting', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

-- Removes at most `most` lines that are older than `kept`. Returns how many.
CREATE FUNCTION collect_audit(kept interval, most integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    removed bigint;
BEGIN
    PERFORM set_config('freehold.collecting', 'on', true);
    DELETE FROM public.audit USING (
        SELECT tenant_id, id FROM public.audit WHERE at < clock_timestamp() - kept ORDER BY at LIMIT most
    ) AS old WHERE audit.tenant_id = old.tenant_id AND audit.id = old.id;
    GET DIAGNOSTICS removed = ROW_COUNT;
    PERFORM set_config('freehold.collecting', 'off', true);
    RETURN removed;
END $$;

REVOKE ALL ON FUNCTION collect_audit FROM PUBLIC;
GRANT EXECUTE ON FUNCTION collect_audit TO freehold_engine;
