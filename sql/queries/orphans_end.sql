-- Ends the owner's connections of an `up` that was killed; a row for each that is still there.
SELECT pg_catalog.pg_terminate_backend(pid)
  FROM pg_catalog.pg_stat_activity
 WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database() AND usename OPERATOR(pg_catalog.=) 'schema_owner'
   AND application_name OPERATOR(pg_catalog.=) 'pgstack' AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()
