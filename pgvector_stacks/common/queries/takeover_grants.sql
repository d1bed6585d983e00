-- In an adopted database the application was a superuser, or went by rights that others have too: it keeps what it could
-- do to rows, also where grant_application leaves alone what has privileges already. Run as schema_owner, after that one.
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT nspname FROM pg_namespace
                WHERE nspowner = current_user::regrole AND nspacl IS NOT NULL AND nspname !~ '^pg_' LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO app, readonly', one.nspname);
    END LOOP;
    FOR one IN SELECT nspname, relname, relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE relowner = current_user::regrole AND relacl IS NOT NULL AND nspname !~ '^pg_'
                  AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S') LOOP
        EXECUTE format(CASE one.relkind WHEN 'S' THEN 'GRANT USAGE, SELECT ON SEQUENCE %I.%I TO app'
                                        ELSE 'GRANT SELECT, INSERT, UPDATE, DELETE ON %I.%I TO app' END,
                       one.nspname, one.relname);
    END LOOP;
END
$$
