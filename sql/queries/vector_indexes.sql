-- Every vector index of the database with what is needed to ask it a question: the indexed expression, the operator that
-- it is ordered by, the predicate. One row an index; the vector column comes first in all of pgvector's indexes.
SELECT i.oid AS index_oid,
       format('%I.%I', n.nspname, i.relname) AS index,
       x.indrelid::regclass::text AS "table",
       am.amname AS method,
       pg_get_indexdef(x.indexrelid, 1, false) AS expression,
       format('OPERATOR(%s.%s)', o.oprnamespace::regnamespace, o.oprname) AS operator,
       pg_get_expr(x.indpred, x.indrelid) AS predicate,
       greatest(t.reltuples, 0)::bigint AS estimated_rows,
       i.relname AS name
  FROM pg_index x
  JOIN pg_class i ON i.oid = x.indexrelid
  JOIN pg_class t ON t.oid = x.indrelid
  JOIN pg_namespace n ON n.oid = i.relnamespace
  JOIN pg_am am ON am.oid = i.relam
  JOIN pg_opclass opc ON opc.oid = x.indclass[0]
  JOIN pg_amop a ON a.amopfamily = opc.opcfamily AND a.amoplefttype = opc.opcintype AND a.amopstrategy = 1
                AND a.amoppurpose = 'o'
  JOIN pg_operator o ON o.oid = a.amopopr
 WHERE am.amname IN ('hnsw', 'ivfflat') AND x.indisvalid AND i.relkind = 'i' AND i.relpersistence <> 't'
 ORDER BY 2
