-- Nothing an application needs runs as superuser: each row is a role or a right that should not be.
SELECT rolname AS role, 'may do what only an administrator should' AS problem
  FROM pg_roles
 WHERE rolname IN ('schema_owner', 'app', 'readonly')
   AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls);

SELECT nspname AS schema, r AS role, 'may create objects' AS problem
  FROM pg_namespace, unnest(ARRAY['app', 'readonly']) AS r
 WHERE (nspname !~ '^pg_' OR nspname = 'public') AND has_schema_privilege(r, oid, 'CREATE');

SELECT c.oid::regclass AS "table", p AS privilege, 'the application lacks it' AS problem
  FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p
 WHERE c.relnamespace = 'app'::regnamespace AND c.relkind IN ('r', 'p') AND NOT has_table_privilege('app', c.oid, p);

SELECT c.oid::regclass AS "table", 'readonly may write' AS problem
  FROM pg_class c
 WHERE c.relnamespace = 'app'::regnamespace AND c.relkind IN ('r', 'p')
   AND has_table_privilege('readonly', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE');
