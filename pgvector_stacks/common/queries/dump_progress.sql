-- How far a pg_dump of this database is, in bytes of its tables. The largest come first (that is how pg_dump -j sorts
-- them, by these pages), so that what has more pages than what is being copied is done. Nothing is running: done is 0.
WITH tables AS (
    SELECT c.oid, c.reltuples, pg_table_size(c.oid) AS bytes, c.relpages + coalesce(toast.relpages, 0) AS pages
      FROM pg_class AS c
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
      LEFT JOIN pg_class AS toast ON toast.oid = c.reltoastrelid
     WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
), running AS (
    SELECT t.oid, t.pages,
           least(t.bytes, CASE WHEN t.reltuples > 0 THEN t.bytes * (p.tuples_processed / t.reltuples)
                               ELSE p.bytes_processed END) AS done
      FROM pg_stat_progress_copy AS p
      JOIN pg_stat_activity AS a ON a.pid = p.pid AND a.application_name IN ('pg_dump', 'pgstack')
      JOIN tables AS t ON t.oid = p.relid
     WHERE p.datname = current_database() AND p.command = 'COPY TO'
)
SELECT coalesce(sum(bytes), 0)::bigint AS total,
       (coalesce((SELECT sum(done) FROM running), 0)
        + coalesce(sum(bytes) FILTER (WHERE pages > (SELECT min(pages) FROM running)
                                        AND oid NOT IN (SELECT oid FROM running)), 0))::bigint AS done
  FROM tables
