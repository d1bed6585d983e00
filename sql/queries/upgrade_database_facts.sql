-- What decides it in one database: extensions, columns that hold catalog numbers, unlogged tables with rows, indexes
-- whose order depends on the C library's collations.
SELECT (SELECT coalesce(json_object_agg(extname, extversion), '{}') FROM pg_extension WHERE extname <> 'plpgsql')
           AS extensions,
       (SELECT coalesce(json_agg(format('%I.%I.%I (%s)', n.nspname, c.relname, a.attname, t.typname)), '[]')
          FROM pg_attribute a
          JOIN pg_class c ON c.oid = a.attrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace
          JOIN pg_type t ON t.oid = a.atttypid
         WHERE NOT a.attisdropped AND c.relkind IN ('r', 'm', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
           AND n.nspname !~ '^pg_t(emp|oast)'
           AND t.typnamespace = 'pg_catalog'::regnamespace
           AND t.typname IN ('regcollation', 'regconfig', 'regdictionary', 'regnamespace', 'regoper', 'regoperator',
                             'regproc', 'regprocedure')) AS reg_columns,
       (SELECT coalesce(json_agg(format('%I.%I', n.nspname, c.relname)), '[]')
          FROM pg_class c
          JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relpersistence = 'u' AND c.relkind IN ('r', 'm', 'S') AND n.nspname !~ '^pg_toast'
           AND (c.relkind = 'S' OR pg_relation_size(c.oid) > 0)) AS unlogged,
       (SELECT count(*) FROM pg_largeobject_metadata) AS large_objects,
       (SELECT coalesce(json_agg(json_build_object('index', index, 'bytes', bytes)), '[]') FROM (
           SELECT format('%I.%I', n.nspname, i.relname) AS index, pg_relation_size(i.oid) AS bytes
             FROM pg_index x
             JOIN pg_class i ON i.oid = x.indexrelid
             JOIN pg_namespace n ON n.oid = i.relnamespace
             CROSS JOIN LATERAL unnest(x.indcollation) AS used(oid)
             JOIN pg_collation l ON l.oid = used.oid
            WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast' AND i.relkind = 'i'
              AND (l.collprovider = 'i'
                   OR l.collprovider = 'c' AND l.collcollate NOT IN ('C', 'POSIX', 'C.UTF-8', 'C.utf8')
                   OR l.collprovider = 'd' AND (SELECT datlocprovider = 'i'
                                                       OR datlocprovider = 'c'
                                                      AND datcollate NOT IN ('C', 'POSIX', 'C.UTF-8', 'C.utf8')
                                                  FROM pg_database WHERE datname = current_database()))
            GROUP BY 1, 2 ORDER BY 2 DESC, 1) AS dependent) AS collation_indexes
