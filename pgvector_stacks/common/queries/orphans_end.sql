-- Ends the owner's sessions: those of an `up` that was killed, and who logged in while scripts ran; a row for each that is
-- still there.
SELECT pg_catalog.pg_terminate_backend(pid)
  FROM pg_catalog.pg_stat_activity
 WHERE usename OPERATOR(pg_catalog.=) 'schema_owner' AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()
