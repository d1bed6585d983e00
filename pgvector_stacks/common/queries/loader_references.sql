-- What lets the login that loads rows refer to those tables of superusers, whose rights it never has, that the dump's
-- keys name: (right, what, name), quoted. Not read them: such a key's rows are checked one by one, by its triggers.
WITH referred AS (
    SELECT n.nspname, c.relname
      FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_roles r ON r.oid = c.relowner
     WHERE c.relkind IN ('r', 'p') AND r.rolsuper AND n.nspname !~ '^pg_'
       AND n.nspname NOT IN ('information_schema', 'pgstack') AND (n.nspname, c.relname) IN ({})
)
SELECT DISTINCT 'USAGE' AS "right", 'SCHEMA' AS what, quote_ident(nspname) AS name FROM referred
UNION ALL
SELECT 'REFERENCES', 'TABLE', format('%I.%I', nspname, relname) FROM referred
