-- Indexes of this database whose order depends on the C library or ICU, the largest first. Of each collation of theirs:
-- provider (c, i), the version that is recorded, and the library's own now.
SELECT format('%I.%I', n.nspname, i.relname) AS index, pg_relation_size(i.oid) AS bytes,
       x.indisunique AS is_unique, x.indisexclusion AS is_exclusion, used.collations
  FROM pg_index x
  JOIN pg_class i ON i.oid = x.indexrelid
  JOIN pg_namespace n ON n.oid = i.relnamespace
  CROSS JOIN LATERAL (
      SELECT json_agg(DISTINCT jsonb_build_object('name', name, 'provider', provider, 'recorded', recorded,
                                                  'actual', actual)) AS collations
        FROM (SELECT 'default' AS name, d.datlocprovider AS provider, d.datcollate AS locale,
                     d.datcollversion AS recorded, pg_database_collation_actual_version(d.oid) AS actual
                FROM pg_database d
               WHERE d.datname = current_database()
                 AND EXISTS (SELECT FROM pg_collation l WHERE l.collprovider = 'd' AND l.oid = ANY (x.indcollation))
              UNION ALL
              SELECT format('%I.%I', s.nspname, l.collname), l.collprovider, l.collcollate, l.collversion,
                     pg_collation_actual_version(l.oid)
                FROM pg_collation l
                JOIN pg_namespace s ON s.oid = l.collnamespace
               WHERE l.collprovider IN ('c', 'i') AND l.oid = ANY (x.indcollation)) AS each
       WHERE provider = 'i' OR provider = 'c' AND locale NOT IN ('C', 'POSIX', 'C.UTF-8', 'C.utf8')) AS used
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast' AND i.relkind = 'i'
   AND used.collations IS NOT NULL
 ORDER BY bytes DESC, index
