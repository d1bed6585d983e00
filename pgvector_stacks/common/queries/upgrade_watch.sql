-- In a rehearsal: what runs with the owners' rights drops no function. What was dropped isn't counted among those that ran.
CREATE SCHEMA pgstack_rehearsal;
CREATE FUNCTION pgstack_rehearsal.refuse() RETURNS event_trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF session_user = 'pgstack_loading' AND EXISTS (
        SELECT FROM pg_event_trigger_dropped_objects() WHERE object_type IN ('function', 'procedure', 'aggregate'))
    THEN
        RAISE 'a function of the schema''s owner runs while the schema is made, and drops a function';
    END IF;
END $$;
CREATE EVENT TRIGGER pgstack_rehearsal ON sql_drop EXECUTE FUNCTION pgstack_rehearsal.refuse();
