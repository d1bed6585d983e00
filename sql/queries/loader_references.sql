-- Lets the login that loads rows refer to the tables of superusers, whose rights it never has. Not read them: the rows of
-- a key to such a table are checked one by one, by the triggers of the key.
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT n.nspname, c.relname
          FROM pg_class c
          JOIN pg_namespace n ON n.oid = c.relnamespace
          JOIN pg_roles r ON r.oid = c.relowner
         WHERE c.relkind IN ('r', 'p') AND r.rolsuper AND n.nspname !~ '^pg_'
           AND n.nspname NOT IN ('information_schema', 'pgstack')
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO pgstack_loading', found.nspname);
        EXECUTE format('GRANT REFERENCES ON %I.%I TO pgstack_loading', found.nspname, found.relname);
    END LOOP;
END
$$
