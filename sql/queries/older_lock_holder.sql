-- The superuser who holds the advisory lock of an older version's `up`: others who hold it keep nobody waiting.
SELECT a.pid
  FROM pg_locks l
  JOIN pg_stat_activity a USING (pid)
  JOIN pg_roles r ON r.oid = a.usesysid AND r.rolsuper
 WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND l.classid = %(classid)s AND l.objid = %(objid)s
