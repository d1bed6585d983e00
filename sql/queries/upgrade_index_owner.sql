-- Whose table a vector index is of; and whether asking it computes a column alone, nothing that an owner wrote.
SELECT quote_ident(pg_get_userbyid(t.relowner)) AS owner, x.indkey[0] <> 0 AND x.indpred IS NULL AS plain
  FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid WHERE x.indexrelid = {oid}
