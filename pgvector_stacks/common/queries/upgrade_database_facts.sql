-- What decides it in one database: extensions, columns that hold catalog numbers, domains with a CHECK,
-- inherited CHECKs that call functions of others than superusers, unlogged tables with rows.
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
       -- in C, and not IMMUTABLE: some run queries or write files, with the rights of who computes the CHECK
       (SELECT coalesce(json_agg(DISTINCT format('%s (%s)', t.oid::regtype, p.oid::regprocedure)), '[]')
          FROM pg_constraint c
          JOIN pg_type t ON t.oid = c.contypid
          JOIN pg_roles o ON o.oid = t.typowner
         CROSS JOIN regexp_matches(c.conbin::text, ':(?:op)?funcid ([0-9]+)', 'g') AS called(number)
          JOIN pg_proc p ON p.oid = number[1]::oid
          JOIN pg_language l ON l.oid = p.prolang
         WHERE NOT o.rolsuper AND l.lanname IN ('c', 'internal') AND (p.provolatile = 'v' OR p.proname ~ '_to_xml')
           AND p.oid NOT IN ('clock_timestamp()'::regprocedure, 'random()'::regprocedure)) AS acting_domains,
       -- a value of statistics that is put back is checked as one of its type
       (SELECT coalesce(json_agg(DISTINCT t.oid::regtype::text), '[]')
          FROM pg_constraint c JOIN pg_type t ON t.oid = c.contypid JOIN pg_roles o ON o.oid = t.typowner
         WHERE NOT o.rolsuper) AS checked_domains,
       -- pg_upgrade adds these to a table that is there, and PostgreSQL computes their constants
       (SELECT coalesce(json_agg(DISTINCT format('%s (%s)', c.conrelid::regclass, p.oid::regprocedure)), '[]')
          FROM pg_constraint c
         CROSS JOIN regexp_matches(c.conbin::text, ':(?:op)?funcid ([0-9]+)', 'g') AS called(number)
          JOIN pg_proc p ON p.oid = number[1]::oid
          JOIN pg_roles o ON o.oid = p.proowner
         WHERE c.contype = 'c' AND c.conrelid <> 0 AND c.coninhcount > 0 AND NOT o.rolsuper) AS inherited_checks,
       -- a CHECK decides by itself, without a function that would be counted, what it calls and for whom
       (SELECT coalesce(json_agg(DISTINCT format('%s (%s)', t.oid::regtype, p.oid::regprocedure)), '[]')
          FROM pg_constraint c
          JOIN pg_type t ON t.oid = c.contypid
         CROSS JOIN regexp_matches(c.conbin::text, ':(?:op)?funcid ([0-9]+)', 'g') AS called(number)
          JOIN pg_proc p ON p.oid = number[1]::oid
          JOIN pg_roles o ON o.oid = p.proowner
         WHERE NOT o.rolsuper) AS calling_domains,
       -- pg_upgrade alone makes the members of an extension: no dump and no rehearsal has them
       (SELECT coalesce(json_agg(format('%s (%s)', e.extname, pg_describe_object(d.classid, d.objid, 0))), '[]')
          FROM pg_depend d
          JOIN pg_extension e ON e.oid = d.refobjid
         WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
           AND EXISTS (SELECT FROM pg_shdepend s JOIN pg_roles o ON o.oid = s.refobjid
                        WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                          AND s.classid = d.classid AND s.objid = d.objid AND s.deptype = 'o'
                          AND s.refclassid = 'pg_authid'::regclass AND NOT o.rolsuper)) AS owners_members,
       (SELECT coalesce(json_agg(format('%I.%I', n.nspname, c.relname)), '[]')
          FROM pg_class c
          JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relpersistence = 'u' AND c.relkind IN ('r', 'm', 'S') AND n.nspname !~ '^pg_toast'
           AND (c.relkind = 'S' OR pg_relation_size(c.oid) > 0)) AS unlogged,
       (SELECT count(*) FROM pg_largeobject_metadata) AS large_objects,
       (SELECT count(*) FROM pg_class WHERE oid >= 16384) AS relations
