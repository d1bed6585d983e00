-- What decides who writes the ledger and what it takes, as rows (kind, table, name, definition): of the tables of pgstack
-- that ledger_create.sql makes, and of its functions. Columns and rights are no part of it.
WITH ours AS (
    SELECT c.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = 'pgstack' AND c.relkind = 'r' AND c.relname = ANY (%(tables)s)
)
SELECT 'table' AS kind, relname::text AS "table", '' AS name, '' AS definition FROM ours
UNION ALL
SELECT 'trigger', relname, tgname::text, pg_get_triggerdef(t.oid)
       || CASE tgenabled WHEN 'D' THEN ' (disabled)' WHEN 'R' THEN ' (on replicas)' WHEN 'A' THEN ' (always)' ELSE '' END
  FROM ours o JOIN pg_trigger t ON t.tgrelid = o.oid AND NOT t.tgisinternal
UNION ALL
SELECT 'rule', relname, rulename::text, pg_get_ruledef(w.oid) FROM ours o JOIN pg_rewrite w ON w.ev_class = o.oid
UNION ALL
SELECT 'policy', relname, polname::text, '' FROM ours o JOIN pg_policy p ON p.polrelid = o.oid
UNION ALL
SELECT 'row security', relname, '', '' FROM ours WHERE relrowsecurity
UNION ALL
SELECT 'unlogged', relname, '', '' FROM ours WHERE relpersistence = 'u'
UNION ALL
SELECT 'child', relname, inhrelid::regclass::text, '' FROM ours o JOIN pg_inherits i ON i.inhparent = o.oid
UNION ALL
SELECT 'constraint', relname, conname::text, pg_get_constraintdef(k.oid)
  FROM ours o JOIN pg_constraint k ON k.conrelid = o.oid AND k.contype NOT IN ('n', 't')
UNION ALL
SELECT 'not null', relname, attname::text, ''
  FROM ours o JOIN pg_attribute a ON a.attrelid = o.oid AND a.attnum > 0 AND a.attnotnull AND NOT a.attisdropped
UNION ALL
SELECT 'default', relname, attname::text, pg_get_expr(adbin, adrelid)
  FROM ours o JOIN pg_attribute a ON a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_attrdef d ON d.adrelid = o.oid AND d.adnum = a.attnum
UNION ALL
SELECT 'function', '', p.oid::regprocedure::text,
       concat_ws(' ', prorettype::regtype, lanname, CASE WHEN prosecdef THEN 'definer' END, proconfig::text,
                 pg_get_expr(proargdefaults, 0), prosrc)
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
 WHERE n.nspname = 'pgstack' AND p.proname = ANY (%(functions)s)
 ORDER BY 1, 2, 3
