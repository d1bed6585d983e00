-- What there is before CREATE INDEX CONCURRENTLY: its table, the table's indexes, and the name as the server stores it.
SELECT pg_catalog.jsonb_build_object(
           'table', t.oid::bigint,
           'name', CASE WHEN %(index)s::text !~* '^u&' THEN ((pg_catalog.parse_ident(%(index)s::text))[1])::name END,
           'had', coalesce((SELECT pg_catalog.jsonb_agg(x.indexrelid::bigint) FROM pg_catalog.pg_index x
                             WHERE x.indrelid = t.oid), '[]'))
  FROM (SELECT pg_catalog.to_regclass(%(table)s)::oid AS oid) AS t
 WHERE t.oid IS NOT NULL
