-- What the owner made, the application may use and the readers may read, without a GRANT in every script. Only what
-- has no privileges of its own yet: a script that grants or revokes is obeyed. ALTER DEFAULT PRIVILEGES would do the
-- same a table at a time, and made a thousand CREATE TABLEs a quarter dearer.
DO $$
DECLARE
    granted text;
BEGIN
    SELECT string_agg(quote_ident(nspname), ', ') INTO granted
      FROM pg_namespace
     WHERE nspowner = current_user::regrole AND nspacl IS NULL AND nspname !~ '^pg_' AND nspname <> 'pgstack';
    IF granted IS NOT NULL THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %s TO app, readonly', granted);
    END IF;

    SELECT string_agg(format('%I.%I', nspname, relname), ', ') INTO granted
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE relowner = current_user::regrole AND relacl IS NULL AND nspname !~ '^pg_'
       AND relkind IN ('r', 'p', 'v', 'm', 'f');
    IF granted IS NOT NULL THEN
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO app', granted);
        EXECUTE format('GRANT SELECT ON %s TO readonly', granted);
    END IF;

    SELECT string_agg(format('%I.%I', nspname, relname), ', ') INTO granted
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE relowner = current_user::regrole AND relacl IS NULL AND nspname !~ '^pg_' AND relkind = 'S';
    IF granted IS NOT NULL THEN
        EXECUTE format('GRANT USAGE, SELECT ON SEQUENCE %s TO app', granted);
        EXECUTE format('GRANT SELECT ON SEQUENCE %s TO readonly', granted);
    END IF;
END
$$
