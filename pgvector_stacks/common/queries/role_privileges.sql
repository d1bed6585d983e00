-- Who asks, what powers it has that no application needs, how many tables it reads, which it can't, the powers of
-- the role the scripts run as, and the schemas with tables that the role may not use.
WITH owned AS (
    SELECT format('%%I.%%I', n.nspname, c.relname) AS name, quote_ident(n.nspname) AS space,
           has_schema_privilege(n.oid, 'USAGE') AS reachable, has_any_column_privilege(c.oid, 'SELECT') AS readable
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'pgstack' AND c.relowner = (SELECT oid FROM pg_roles WHERE rolname = %(owner)s)
)
SELECT current_user,
       (SELECT concat_ws(', ', CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
                               CASE WHEN rolcreatedb THEN 'CREATEDB' END, CASE WHEN rolreplication THEN 'REPLICATION' END,
                               CASE WHEN rolbypassrls THEN 'BYPASSRLS' END)
          FROM pg_roles WHERE rolname = current_user),
       (SELECT count(*) FROM owned WHERE readable AND reachable),
       (SELECT string_agg(name, ', ' ORDER BY name) FROM (SELECT name FROM owned WHERE reachable AND NOT readable LIMIT 5) AS few),
       (SELECT CASE WHEN rolsuper THEN 'SUPERUSER' END FROM pg_roles WHERE rolname = %(owner)s),
       (SELECT string_agg(DISTINCT space, ', ') FROM owned WHERE NOT reachable)
