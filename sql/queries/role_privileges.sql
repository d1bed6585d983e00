-- Who asks, what powers it has that no application needs, how many tables it reads, which it can't, and the powers of
-- the role the scripts run as.
WITH owned AS (
    SELECT format('%%I.%%I', n.nspname, c.relname) AS name, has_table_privilege(c.oid, 'SELECT') AS readable
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'pgstack' AND c.relowner = (SELECT oid FROM pg_roles WHERE rolname = %(owner)s)
)
SELECT current_user,
       (SELECT concat_ws(', ', CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
                               CASE WHEN rolcreatedb THEN 'CREATEDB' END, CASE WHEN rolreplication THEN 'REPLICATION' END,
                               CASE WHEN rolbypassrls THEN 'BYPASSRLS' END)
          FROM pg_roles WHERE rolname = current_user),
       (SELECT count(*) FROM owned WHERE readable),
       (SELECT string_agg(name, ', ' ORDER BY name) FROM (SELECT name FROM owned WHERE NOT readable LIMIT 5) AS few),
       (SELECT CASE WHEN rolsuper THEN 'SUPERUSER' END FROM pg_roles WHERE rolname = %(owner)s)
