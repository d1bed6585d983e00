-- What there is before DROP INDEX CONCURRENTLY: the index, as the inventory calls it.
SELECT pg_catalog.jsonb_build_object('oid', i.oid::bigint, 'identity',
                                     pg_catalog.format('%%I.%%I.%%I', n.nspname, c.relname, i.relname))
  FROM pg_catalog.pg_class i
  JOIN pg_catalog.pg_index x ON x.indexrelid = i.oid
  JOIN pg_catalog.pg_class c ON c.oid = x.indrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE i.oid = pg_catalog.to_regclass(%(index)s)
