-- Until the transaction ends: CREATE EXTENSION makes objects in the first schema of the path.
SELECT set_config('search_path', format('%I, pg_temp', coalesce(
           (SELECT nspname FROM pg_namespace WHERE nspname = 'public'),
           (SELECT nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'vector'),
           'public')), true)
