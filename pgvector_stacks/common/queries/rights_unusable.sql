-- Where a role of the application has rights on tables that it can't reach, since it may not use their schema: role,
-- schema, how many tables, and one of them.
SELECT role, quote_ident(n.nspname), count(*), min(format('%I.%I', n.nspname, c.relname))
  FROM unnest(ARRAY['app', 'readonly']) AS role
  JOIN pg_roles r ON r.rolname = role
  JOIN pg_namespace n ON n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgstack')
                     AND NOT has_schema_privilege(r.oid, n.oid, 'USAGE')
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
                 AND (has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE')
                      OR has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE'))
 GROUP BY role, n.nspname ORDER BY role, n.nspname
