-- What ALTER DATABASE, GRANT and REVOKE could have done to the stack's database and its neighbours: its owner, whether it
-- takes connections and is a template, its limit, the role it makes of a session, the libraries it loads into it; which of
-- it and PostgreSQL's own databases everybody may enter; which functions that are closed to `readonly` it may call; which
-- databases restores kept; what ALTER ROLE ALL set for the sessions of every role in every database.
SELECT d.datname, pg_get_userbyid(d.datdba), d.datallowconn, d.datistemplate, d.datconnlimit,
       (SELECT substr(word, strpos(word, '=') + 1) FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS word
         WHERE s.setdatabase = d.oid AND s.setrole = 0 AND word LIKE 'role=%%'),
       (SELECT substr(word, strpos(word, '=') + 1) FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS word
         WHERE s.setdatabase = d.oid AND s.setrole = 0 AND word LIKE 'local_preload_libraries=%%'),
       (SELECT substr(word, strpos(word, '=') + 1) FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS word
         WHERE s.setdatabase = d.oid AND s.setrole = 0 AND word LIKE 'session_preload_libraries=%%'),
       ARRAY(SELECT o.datname::text FROM pg_database o
              WHERE o.datname IN ('postgres', 'template1', %(database)s)
                AND EXISTS (SELECT FROM aclexplode(coalesce(o.datacl, acldefault('d', o.datdba)))
                             WHERE grantee = 0 AND privilege_type = 'CONNECT') ORDER BY 1),
       ARRAY(SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_roles r ON r.rolname = 'readonly'
              WHERE d.datname = current_database() AND p.pronamespace = 'pg_catalog'::regnamespace
                AND p.proname = ANY (%(closed)s::text[])
                AND has_function_privilege(r.oid, p.oid, 'EXECUTE') ORDER BY 1),
       ARRAY(SELECT o.datname::text FROM pg_database o WHERE starts_with(o.datname, 'pgstack_before_') ORDER BY 1),
       coalesce((SELECT json_agg(json_build_array(split_part(word, '=', 1), substr(word, strpos(word, '=') + 1)) ORDER BY word)
                   FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS word
                  WHERE s.setdatabase = 0 AND s.setrole = 0), '[]')
  FROM pg_database d WHERE d.datname = %(database)s
