-- The objects, by kind and identity as in inventory.sql, that another session's transaction wrote last, of those that
-- committed after the snapshot %(since)s. What this transaction and its savepoints wrote is in progress. age() counts
-- from this transaction's ID: what was written later is negative.
WITH now AS MATERIALIZED (
    SELECT pg_current_xact_id()::text::int8 AS id, since, pg_snapshot_xmin(since)::text::int8 AS oldest,
           pg_snapshot_xmax(pg_current_snapshot())::text::int8 AS next
      FROM CAST(%(since)s AS pg_snapshot) AS since
), written AS (
    SELECT 'pg_class'::regclass AS class, oid, 0::int2 AS part, age(xmin) AS age FROM pg_class
    UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum, age(xmin) FROM pg_attribute
    UNION ALL SELECT 'pg_class'::regclass, adrelid, adnum, age(xmin) FROM pg_attrdef
    UNION ALL SELECT 'pg_class'::regclass, indexrelid, 0, age(xmin) FROM pg_index
    UNION ALL SELECT 'pg_class'::regclass, seqrelid, 0, age(xmin) FROM pg_sequence
    UNION ALL SELECT 'pg_constraint'::regclass, oid, 0, age(xmin) FROM pg_constraint
    UNION ALL SELECT 'pg_trigger'::regclass, oid, 0, age(xmin) FROM pg_trigger
    UNION ALL SELECT 'pg_rewrite'::regclass, oid, 0, age(xmin) FROM pg_rewrite
    UNION ALL SELECT 'pg_policy'::regclass, oid, 0, age(xmin) FROM pg_policy
    UNION ALL SELECT 'pg_proc'::regclass, oid, 0, age(xmin) FROM pg_proc
    UNION ALL SELECT 'pg_type'::regclass, oid, 0, age(xmin) FROM pg_type
    UNION ALL SELECT 'pg_type'::regclass, enumtypid, 0, age(xmin) FROM pg_enum
    UNION ALL SELECT 'pg_namespace'::regclass, oid, 0, age(xmin) FROM pg_namespace
    UNION ALL SELECT classoid, objoid, objsubid::int2, age(xmin) FROM pg_description
), other AS MATERIALIZED (
    SELECT DISTINCT class, oid, part FROM written, now
     WHERE CASE WHEN age BETWEEN -1000000000 AND now.id - now.oldest AND now.id - age < now.next
                THEN NOT pg_visible_in_snapshot((now.id - age)::text::xid8, now.since)
                     AND pg_xact_status((now.id - age)::text::xid8) = 'committed' END
), relation AS MATERIALIZED (
    SELECT c.oid, relkind, format('%%I.%%I', nspname, relname) AS identity
      FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
)
SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
                    WHEN 'S' THEN 'sequence' ELSE 'table' END AS kind, identity
  FROM other o JOIN relation r USING (oid) WHERE class = 'pg_class'::regclass AND part = 0 AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
UNION SELECT 'column order', identity
  FROM other o JOIN relation r USING (oid) WHERE class = 'pg_class'::regclass AND relkind IN ('r', 'p', 'f')
UNION SELECT 'column', format('%%s.%%I', identity, attname)
  FROM other o JOIN relation r USING (oid) JOIN pg_attribute a ON attrelid = o.oid AND attnum = part
 WHERE class = 'pg_class'::regclass AND part > 0 AND NOT attisdropped
UNION SELECT 'index', format('%%s.%%I', r.identity, relname)
  FROM other o JOIN pg_index x ON indexrelid = o.oid JOIN pg_class i ON i.oid = o.oid JOIN relation r ON r.oid = indrelid
 WHERE class = 'pg_class'::regclass
UNION SELECT 'constraint', format('%%s.%%I', identity, conname)
  FROM other o JOIN pg_constraint k ON k.oid = o.oid JOIN relation r ON r.oid = conrelid WHERE class = 'pg_constraint'::regclass
UNION SELECT 'trigger', format('%%s.%%I', identity, tgname)
  FROM other o JOIN pg_trigger t ON t.oid = o.oid JOIN relation r ON r.oid = tgrelid WHERE class = 'pg_trigger'::regclass
UNION SELECT CASE WHEN rulename <> '_RETURN' THEN 'rule' WHEN relkind = 'm' THEN 'materialized view' ELSE 'view' END,
             CASE WHEN rulename <> '_RETURN' THEN format('%%s.%%I', identity, rulename) ELSE identity END
  FROM other o JOIN pg_rewrite w ON w.oid = o.oid JOIN relation r ON r.oid = ev_class WHERE class = 'pg_rewrite'::regclass
UNION SELECT 'policy', format('%%s.%%I', identity, polname)
  FROM other o JOIN pg_policy p ON p.oid = o.oid JOIN relation r ON r.oid = polrelid WHERE class = 'pg_policy'::regclass
UNION SELECT CASE prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
             format('%%I.%%I(%%s)', nspname, proname, pg_get_function_identity_arguments(p.oid))
  FROM other o JOIN pg_proc p ON p.oid = o.oid JOIN pg_namespace n ON n.oid = pronamespace WHERE class = 'pg_proc'::regclass
UNION SELECT CASE typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' ELSE 'type' END, format('%%I.%%I', nspname, typname)
  FROM other o JOIN pg_type t ON t.oid = o.oid JOIN pg_namespace n ON n.oid = typnamespace WHERE class = 'pg_type'::regclass
UNION SELECT 'schema', format('%%I', nspname)
  FROM other o JOIN pg_namespace n ON n.oid = o.oid WHERE class = 'pg_namespace'::regclass
