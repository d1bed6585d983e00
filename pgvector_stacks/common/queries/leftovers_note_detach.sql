-- What there is before DETACH PARTITION … CONCURRENTLY: the partition, as the inventory calls it, and its parent.
SELECT pg_catalog.jsonb_build_object('oid', c.oid::bigint, 'parent', h.inhparent::bigint, 'identity',
                                     pg_catalog.format('%%I.%%I', n.nspname, c.relname))
  FROM pg_catalog.pg_inherits h
  JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE h.inhrelid = pg_catalog.to_regclass(%(index)s) AND h.inhparent = pg_catalog.to_regclass(%(table)s)
