-- Ids become visible in ascending order: who has read up to 7 will never miss a 6 that was committed later.
-- Each writer takes the lock before it takes an id, and the transaction releases it only once it can be seen.
CREATE FUNCTION number_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7236591, 1);
    NEW.id := nextval('entry_ids');
    RETURN NEW;
END
$$;
CREATE TRIGGER number_entry BEFORE INSERT ON entries FOR EACH ROW EXECUTE FUNCTION number_entry();

-- Wakes the event streams. They read the entries themselves, so a lost notification costs time and never an entry.
CREATE FUNCTION announce_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('entries', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER announce_entry AFTER INSERT ON entries FOR EACH STATEMENT EXECUTE FUNCTION announce_entry();
