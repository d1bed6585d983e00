-- The functions that are closed to the role in the stack's database, and that it may run. In those of others they are left
-- as they are.
SELECT p.oid::regprocedure::text FROM pg_proc p
 WHERE p.pronamespace = 'pg_catalog'::regnamespace
   AND p.proname = ANY (%(closed)s::text[])
   AND to_regclass('pgstack.ledger') IS NOT NULL AND has_function_privilege(%(role)s, p.oid, 'EXECUTE')
 ORDER BY 1
