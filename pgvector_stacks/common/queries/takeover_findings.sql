-- What an operator should know of a database that was just taken over: a sentence a row.
WITH relation AS (
    SELECT c.oid, relowner, relacl, format('%I.%I', nspname, relname) AS name
      FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
     WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'pgstack')
       AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid
                          AND (deptype = 'e' OR (relkind = 'S' AND deptype IN ('a', 'i'))))
), file AS (
    SELECT DISTINCT s.name, s.source FROM pg_file_settings f JOIN pg_settings s ON lower(s.name) = lower(f.name)
     WHERE lower(f.name) NOT IN (  -- what initdb writes
           'listen_addresses', 'max_connections', 'shared_buffers', 'dynamic_shared_memory_type', 'max_wal_size',
           'min_wal_size', 'log_timezone', 'datestyle', 'timezone', 'lc_messages', 'lc_monetary', 'lc_numeric', 'lc_time',
           'default_text_search_config')
)
SELECT format('%s of the objects stay with %s, who owned them before: scripts that alter them need  '
              'REASSIGN OWNED BY %s TO schema_owner', count(*), pg_get_userbyid(relowner), relowner::regrole)
  FROM relation WHERE relowner NOT IN (10, 'schema_owner'::regrole) GROUP BY relowner
UNION ALL
SELECT 'rights were given on these before, so readonly got none of its own; where it should read:  GRANT SELECT ON '
       || string_agg(name, ', ' ORDER BY name) || ' TO readonly'
  FROM relation WHERE relowner = 'schema_owner'::regrole AND NOT has_table_privilege('readonly', oid, 'SELECT')
HAVING count(*) > 0
UNION ALL
SELECT 'these have passwords as MD5, which pg_hba.conf refuses: ' || string_agg(quote_ident(rolname), ', ' ORDER BY rolname)
       || '; set them again:  ALTER ROLE … PASSWORD'
  FROM pg_authid WHERE rolpassword LIKE 'md5%' AND rolcanlogin
HAVING count(*) > 0
UNION ALL
SELECT 'settings of the old files that stay in force: ' || string_agg(name, ', ' ORDER BY name)
  FROM file WHERE source = 'configuration file'
HAVING count(*) > 0
UNION ALL
SELECT 'settings of the old files that the stack''s own win over: ' || string_agg(name, ', ' ORDER BY name)
  FROM file WHERE source = 'command line'
HAVING count(*) > 0
UNION ALL
SELECT format('the superuser %I can still log in; the stack doesn''t need that:  ALTER ROLE %I NOLOGIN', rolname, rolname)
  FROM pg_roles WHERE oid = 10 AND rolcanlogin AND rolname <> 'postgres'
