-- Collations of this database, and databases that can't be entered, whose recorded version isn't the library's any more;
-- and the statement that says the indexes have been sorted again.
SELECT format('database %I', datname) AS what, datcollversion AS recorded,
       pg_database_collation_actual_version(oid) AS actual,
       format('ALTER DATABASE %I REFRESH COLLATION VERSION', datname) AS refresh
  FROM pg_database
 WHERE datcollversion <> pg_database_collation_actual_version(oid)
   AND (datname = current_database() OR NOT datallowconn AND current_database() = 'template1')
UNION ALL
SELECT format('collation %I.%I', n.nspname, collname), collversion, pg_collation_actual_version(c.oid),
       format('ALTER COLLATION %I.%I REFRESH VERSION', n.nspname, collname)
  FROM pg_collation c
  JOIN pg_namespace n ON n.oid = collnamespace
 WHERE collversion <> pg_collation_actual_version(c.oid)
