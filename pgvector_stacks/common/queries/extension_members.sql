-- What definitions may name of the extensions: their types, operator classes and operators, as SCHEMA.NAME.
SELECT DISTINCT format('%I.%s', n.nspname, m.name)
  FROM (SELECT 'pg_type'::regclass AS classid, oid, typnamespace AS space, quote_ident(typname) AS name FROM pg_type
        UNION ALL
        SELECT 'pg_opclass'::regclass, oid, opcnamespace, quote_ident(opcname) FROM pg_opclass
        UNION ALL
        SELECT 'pg_operator'::regclass, oid, oprnamespace, oprname FROM pg_operator
        UNION ALL
        SELECT 'pg_proc'::regclass, oid, pronamespace, quote_ident(proname) FROM pg_proc) m
  JOIN pg_depend d ON d.classid = m.classid AND d.objid = m.oid AND d.deptype = 'e'
  JOIN pg_namespace n ON n.oid = m.space
