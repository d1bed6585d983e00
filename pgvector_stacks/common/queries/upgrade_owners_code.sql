-- Functions of roles without a superuser's powers that ran while the schema was made (track_functions = all).
SELECT s.funcid::regprocedure::text AS name
  FROM pg_stat_user_functions s JOIN pg_proc p ON p.oid = s.funcid JOIN pg_roles r ON r.oid = p.proowner
 WHERE s.calls > 0 AND NOT r.rolsuper
 ORDER BY 1
