-- The tables and sequences whose rows a dump has, and their owners; those of superusers are left out.
SELECT n.nspname AS schema, c.relname AS name, r.rolname AS owner
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_roles r ON r.oid = c.relowner
 WHERE c.relkind IN ('r', 'p', 'S') AND NOT r.rolsuper
   AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
