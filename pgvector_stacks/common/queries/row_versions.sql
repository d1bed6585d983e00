-- The version of the catalog's row that holds an object's expression: number as asked, and the transaction that wrote it. Who
-- renames what an expression names changes its text, and not this row. %(names)s: a part's name in its relation, a
-- function's with arguments.
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest(%(kinds)s::text[], %(relations)s::oid[], %(names)s::text[]) WITH ORDINALITY AS a(kind, relation, name, number)
)
SELECT number, w.xmin::text FROM asked JOIN pg_rewrite w ON w.ev_class = relation
 WHERE kind IN ('view', 'materialized view') AND w.rulename = '_RETURN' OR kind = 'rule' AND quote_ident(w.rulename) = name
UNION ALL
SELECT number, p.xmin::text FROM asked JOIN pg_policy p ON kind = 'policy' AND p.polrelid = relation AND quote_ident(p.polname) = name
UNION ALL
SELECT number, t.xmin::text FROM asked JOIN pg_trigger t ON kind = 'trigger' AND t.tgrelid = relation AND quote_ident(t.tgname) = name
UNION ALL
SELECT number, k.xmin::text FROM asked JOIN pg_constraint k ON kind = 'constraint' AND k.conrelid = relation AND quote_ident(k.conname) = name
UNION ALL
SELECT number, x.xmin::text FROM asked JOIN pg_index x ON kind = 'index' AND x.indrelid = relation
  JOIN pg_class i ON i.oid = x.indexrelid AND quote_ident(i.relname) = name
UNION ALL
SELECT number, d.xmin::text FROM asked JOIN pg_attrdef d ON kind = 'column' AND d.adrelid = relation
  JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND quote_ident(a.attname) = name
UNION ALL
SELECT number, p.xmin::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
  JOIN asked ON kind IN ('function', 'procedure')
   AND name = format('%%I.%%I(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid))
