-- Tables whose statistics an upgrade has not carried, or only roughly: all of them before 18; from 18 on those with
-- extended statistics, and those without any. (schema, table).
SELECT n.nspname, c.relname
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't' AND n.nspname <> 'information_schema'
   AND (current_setting('server_version_num')::int < 180000 AND n.nspname <> 'pg_catalog'
        OR EXISTS (SELECT FROM pg_statistic_ext e WHERE e.stxrelid = c.oid)
        OR n.nspname <> 'pg_catalog' AND (c.relpages > 0 OR pg_relation_size(c.oid) > 0)
           AND NOT EXISTS (SELECT FROM pg_statistic s WHERE s.starelid = c.oid))
 ORDER BY 1, 2
