-- Whose table a vector index is of; and whether asking it computes nothing that an owner wrote: neither what is indexed,
-- nor the constants in the table's other indexes and statistics, which the planner computes, nor any of its children's.
SELECT quote_ident(pg_get_userbyid(t.relowner)) AS owner,
       x.indkey[0] <> 0
       AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = t.oid)
       AND NOT EXISTS (SELECT FROM pg_index i
                        WHERE i.indrelid = t.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL))
       AND NOT EXISTS (SELECT FROM pg_statistic_ext s WHERE s.stxrelid = t.oid AND s.stxexprs IS NOT NULL) AS plain
  FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid WHERE x.indexrelid = {oid}
