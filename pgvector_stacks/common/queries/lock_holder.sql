-- Who holds the lock of another `up`: that of the table, or the advisory lock of older versions, as a superuser.
SELECT a.pid, a.application_name, coalesce(host(a.client_addr), 'local') AS client,
       date_trunc('second', clock_timestamp() - a.backend_start)::text AS since
  FROM pg_locks l
  JOIN pg_stat_activity a USING (pid)
 WHERE l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND a.pid <> pg_backend_pid()
   AND (l.locktype = 'relation' AND l.relation = to_regclass('pgstack.up') AND l.mode = 'ExclusiveLock'
        OR l.locktype = 'advisory' AND l.classid = %(classid)s AND l.objid = %(objid)s
           AND coalesce((SELECT rolsuper FROM pg_roles WHERE oid = a.usesysid), false))
 ORDER BY l.locktype DESC
 LIMIT 1
