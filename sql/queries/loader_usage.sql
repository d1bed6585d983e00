-- Lets the login that loads rows enter each schema: an owner of a table may lack the right to use the table's schema.
DO $$
DECLARE
    space record;
BEGIN
    FOR space IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO pgstack_loading', space.nspname);
    END LOOP;
END
$$
