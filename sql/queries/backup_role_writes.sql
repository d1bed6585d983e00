-- The functions of the stack's database by which the role could make or change large objects. In those of others they
-- are left as they are.
SELECT p.oid::regprocedure::text FROM pg_proc p
 WHERE p.pronamespace = 'pg_catalog'::regnamespace
   AND p.proname IN ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_put', 'lo_truncate', 'lo_truncate64', 'lo_unlink',
                     'lowrite')
   AND to_regclass('pgstack.ledger') IS NOT NULL AND has_function_privilege(%(role)s, p.oid, 'EXECUTE')
 ORDER BY 1
