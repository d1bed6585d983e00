-- The transactions that may hold the lock a script waits for, the oldest first.
SELECT pid, usename, coalesce(application_name, ''), state,
       date_trunc('second', clock_timestamp() - xact_start)::text AS since, left(query, 80) AS query
  FROM pg_stat_activity
 WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
   AND application_name <> 'pgstack'
 ORDER BY xact_start
 LIMIT 3
