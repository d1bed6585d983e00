-- What there is before REINDEX … CONCURRENTLY: the INVALID indexes.
SELECT pg_catalog.jsonb_build_object('had', coalesce(pg_catalog.jsonb_agg(indexrelid::bigint), '[]'))
  FROM pg_catalog.pg_index
 WHERE NOT indisvalid
