-- Lets the login that loads rows connect and enter each schema where the rights of the owner don't do it already: an
-- owner of a table may lack the right to use the table's schema.
DO $$
DECLARE
    space record;
BEGIN
    IF NOT has_database_privilege('pgstack_loading', current_database(), 'CONNECT') THEN
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO pgstack_loading', current_database());
    END IF;
    FOR space IN
        SELECT nspname FROM pg_namespace
         WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
           AND NOT has_schema_privilege('pgstack_loading', oid, 'USAGE')
           AND EXISTS (SELECT FROM pg_class c
                        WHERE c.relnamespace = pg_namespace.oid AND c.relkind IN ('r', 'p', 'S')
                          AND pg_has_role('pgstack_loading', c.relowner, 'USAGE'))
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO pgstack_loading', space.nspname);
    END LOOP;
END
$$
