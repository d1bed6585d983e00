-- Whether an `up` (or a `verify`) works on this server, asked from any database: it holds the advisory lock, too.
SELECT EXISTS (
    SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
     WHERE l.granted AND l.locktype = 'advisory' AND l.classid = %(classid)s AND l.objid = %(objid)s
       AND l.database = (SELECT oid FROM pg_database WHERE datname = 'postgres')
       AND (SELECT rolsuper FROM pg_roles WHERE oid = a.usesysid))
