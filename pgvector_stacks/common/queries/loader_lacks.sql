-- Where owners of objects lack the right to make any, as long as no rights are restored: (right, what, name, role),
-- quoted.
SELECT p.name AS "right", 'SCHEMA' AS what, quote_ident(n.nspname) AS name, quote_ident(r.rolname) AS role
  FROM pg_namespace n, pg_roles r, (VALUES ('CREATE'), ('USAGE')) AS p(name)
 WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgstack') AND r.rolname = ANY ({owners})
   AND NOT has_schema_privilege(r.oid, n.oid, p.name)
UNION ALL
SELECT 'CREATE', 'DATABASE', quote_ident(current_database()), quote_ident(r.rolname)
  FROM pg_roles r WHERE r.rolname = ANY ({owners}) AND NOT has_database_privilege(r.oid, current_database(), 'CREATE')
