-- What the first superuser owns in an adopted database and scripts may have to change, with the statement that gives it
-- to schema_owner. Left out: what belongs to an extension, to PostgreSQL or to pgstack; what goes with its table; the
-- schema public; and what only a superuser may own (event triggers, foreign-data wrappers, subscriptions).
WITH space AS (
    SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'pgstack')
), owned AS (
    SELECT 'pg_namespace'::regclass AS classid, oid FROM pg_namespace
     WHERE nspowner = 10 AND oid IN (SELECT oid FROM space) AND nspname <> 'public'
    UNION ALL
    SELECT 'pg_class'::regclass, c.oid FROM pg_class c
     WHERE relowner = 10 AND relnamespace IN (SELECT oid FROM space) AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
       AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid
                          AND relkind = 'S' AND deptype IN ('a', 'i'))
    UNION ALL
    SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE proowner = 10 AND pronamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
     WHERE typowner = 10 AND typnamespace IN (SELECT oid FROM space)
       AND (typtype IN ('d', 'e', 'r') OR (typtype = 'b' AND typcategory <> 'A') OR (typtype = 'c' AND relkind = 'c'))
    UNION ALL
    SELECT 'pg_operator'::regclass, oid FROM pg_operator WHERE oprowner = 10 AND oprnamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_opclass'::regclass, oid FROM pg_opclass WHERE opcowner = 10 AND opcnamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily WHERE opfowner = 10 AND opfnamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_collation'::regclass, oid FROM pg_collation
     WHERE collowner = 10 AND collnamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_conversion'::regclass, oid FROM pg_conversion
     WHERE conowner = 10 AND connamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_statistic_ext'::regclass, oid FROM pg_statistic_ext
     WHERE stxowner = 10 AND stxnamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config
     WHERE cfgowner = 10 AND cfgnamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict WHERE dictowner = 10 AND dictnamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_foreign_server'::regclass, oid FROM pg_foreign_server WHERE srvowner = 10
    UNION ALL
    SELECT 'pg_publication'::regclass, oid FROM pg_publication WHERE pubowner = 10 AND NOT puballtables
    UNION ALL
    SELECT 'pg_largeobject'::regclass, oid FROM pg_largeobject_metadata WHERE lomowner = 10
)
SELECT format('ALTER %s %s OWNER TO schema_owner',
              CASE type WHEN 'statistics object' THEN 'statistics' WHEN 'composite type' THEN 'type' ELSE type END,
              identity)
  FROM owned o, pg_identify_object(o.classid, o.oid, 0)
 WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.classid AND d.objid = o.oid AND d.deptype = 'e')
 ORDER BY o.classid, o.oid
