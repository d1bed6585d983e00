-- What is compared row by row with the data directory that an upgrade kept: (kind, name, last, step). Not what pgstack
-- itself writes, nor what lies elsewhere. A sequence: its last number, NULL where none was drawn, and its increment.
SELECT 'table' AS kind, format('%I.%I', n.nspname, c.relname) AS name, NULL::bigint AS last, NULL::bigint AS step
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgstack') AND n.nspname !~ '^pg_t(emp|oast)'
UNION ALL
SELECT 'sequence', format('%I.%I', n.nspname, c.relname), pg_sequence_last_value(c.oid), s.seqincrement
  FROM pg_sequence s
  JOIN pg_class c ON c.oid = s.seqrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relpersistence <> 't' AND n.nspname <> 'pgstack'
 ORDER BY 1, 2
