-- The indexes that a statement made or left, by its note: those it is known to have left ("left"), or those that were
-- not there before ("had") and have the name it gives. Nobody else is building them now.
SELECT x.indexrelid::bigint, pg_catalog.format('%%I.%%I', s.nspname, i.relname) AS name,
       pg_catalog.format('%%I.%%I.%%I', n.nspname, c.relname, i.relname) AS identity, x.indisvalid
  FROM pg_catalog.pg_index x
  JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
  JOIN pg_catalog.pg_namespace s ON s.oid = i.relnamespace
  JOIN pg_catalog.pg_class c ON c.oid = x.indrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE x.indexrelid::bigint <> ALL (%(had)s::bigint[])
   AND CASE
           WHEN %(left)s::bigint[] IS NOT NULL THEN x.indexrelid::bigint = ANY (%(left)s::bigint[])
           WHEN %(kind)s = 'reindex' THEN NOT x.indisvalid AND i.relname ~ '_cc(new|old)[0-9]*$'
           ELSE x.indrelid::bigint = %(table)s::bigint
                AND CASE WHEN %(name)s::text IS NULL THEN NOT x.indisvalid OR i.relname ~ '_idx[0-9]*$'
                         ELSE i.relname = %(name)s::text END
       END
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p
                    WHERE p.index_relid = x.indexrelid AND p.pid <> pg_catalog.pg_backend_pid())
 ORDER BY 1
