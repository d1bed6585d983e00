-- Of the roles that are there of those named: what ALTER ROLE and GRANT could have done to them. Memberships: only in
-- roles that own the schema or are superusers, directly or not.
SELECT r.rolname, r.rolcanlogin, r.rolpassword, nullif(r.rolvaliduntil, 'infinity')::text, r.rolconnlimit,
       array_remove(ARRAY[CASE WHEN r.rolsuper THEN 'SUPERUSER' END, CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
                          CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END, CASE WHEN r.rolreplication THEN 'REPLICATION' END,
                          CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END], NULL),
       ARRAY(SELECT DISTINCT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
              WHERE m.member = r.oid
                AND EXISTS (SELECT FROM pg_roles p WHERE (p.rolsuper OR p.rolname = 'schema_owner')
                                                     AND pg_has_role(g.oid, p.oid, 'MEMBER') AND NOT g.rolsuper
                            UNION ALL SELECT WHERE g.rolsuper)
              ORDER BY 1),
       has_database_privilege(r.oid, current_database(), 'CONNECT')
  FROM pg_authid r WHERE r.rolname = ANY(%(names)s) ORDER BY 1
