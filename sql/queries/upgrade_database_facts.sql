-- What decides it in one database: extensions, columns that hold catalog numbers, unlogged tables with rows.
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
       (SELECT count(*) FROM pg_class WHERE oid >= 16384) AS relations
