-- What was sorted by another version of the operating system's collations; each row needs REINDEX, then REFRESH.
SELECT format('database %I', datname) AS what, datcollversion AS recorded, pg_database_collation_actual_version(oid) AS actual
  FROM pg_database
 WHERE datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid)
   AND datallowconn
UNION ALL
SELECT format('collation %I', collname), collversion, pg_collation_actual_version(oid)
  FROM pg_collation
 WHERE collprovider IN ('c', 'i') AND collversion IS NOT NULL
   AND collversion IS DISTINCT FROM pg_collation_actual_version(oid)
