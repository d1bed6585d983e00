-- Who holds the advisory lock of another `up`.
SELECT a.pid, a.application_name, coalesce(host(a.client_addr), 'local') AS client,
       date_trunc('second', clock_timestamp() - a.backend_start)::text AS since
  FROM pg_locks l
  JOIN pg_stat_activity a USING (pid)
 WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND l.classid = %(classid)s AND l.objid = %(objid)s
