-- Behind all else the schema in which pgvector lies, for a test that writes its names as an application does.
SELECT set_config('search_path', format('pg_catalog, pg_temp, %I', n.nspname), false)
  FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'
