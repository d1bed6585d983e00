-- Roles that can connect to the database today and lose it once PUBLIC may no longer.
SELECT rolname
  FROM pg_roles
 WHERE rolcanlogin AND NOT rolsuper AND rolname !~ '^pg_' AND rolname NOT IN ('schema_owner', 'app', 'readonly', 'pgstack_backup')
   AND has_database_privilege(oid, %(database)s, 'CONNECT')
 ORDER BY 1
