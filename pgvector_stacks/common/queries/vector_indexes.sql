-- Every vector index of the database with what is needed to ask it a question, all of it quoted and with its schema: the
-- table and its owner, the type and expression that are indexed, the operator that it is ordered by, the predicate. One
-- row an index; the vector column comes first in all of pgvector's indexes.
SELECT i.oid AS index_oid,
       pg_catalog.format('%I.%I', n.nspname, i.relname) AS index,
       pg_catalog.format('%I.%I', tn.nspname, t.relname) AS "table",
       t.relowner::pg_catalog.regrole::pg_catalog.text AS owner,
       pg_catalog.format_type(v.atttypid, v.atttypmod) AS kind,
       pg_catalog.pg_get_indexdef(x.indexrelid, 1, false) AS expression,
       pg_catalog.format('OPERATOR(%I.%s)', opn.nspname, o.oprname) AS operator,
       pg_catalog.pg_get_expr(x.indpred, x.indrelid) AS predicate,
       greatest(t.reltuples, 0)::pg_catalog.int8 AS estimated_rows,
       i.relname AS name
  FROM pg_catalog.pg_index x
  JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
  JOIN pg_catalog.pg_attribute v ON v.attrelid = i.oid AND v.attnum = 1
  JOIN pg_catalog.pg_class t ON t.oid = x.indrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
  JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
  JOIN pg_catalog.pg_am am ON am.oid = i.relam
  JOIN pg_catalog.pg_opclass opc ON opc.oid = x.indclass[0]
  JOIN pg_catalog.pg_amop a ON a.amopfamily = opc.opcfamily AND a.amoplefttype = opc.opcintype AND a.amopstrategy = 1
                           AND a.amoppurpose = 'o'
  JOIN pg_catalog.pg_operator o ON o.oid = a.amopopr
  JOIN pg_catalog.pg_namespace opn ON opn.oid = o.oprnamespace
 WHERE am.amname IN ('hnsw', 'ivfflat') AND x.indisvalid AND i.relkind = 'i' AND i.relpersistence <> 't'
 ORDER BY 2
