-- What the HNSW and IVFFlat indexes of a database take on the disk.
SELECT coalesce(sum(pg_relation_size(c.oid)), 0)::bigint AS bytes
  FROM pg_class AS c JOIN pg_am AS a ON a.oid = c.relam
 WHERE c.relkind = 'i' AND a.amname IN ('hnsw', 'ivfflat')
