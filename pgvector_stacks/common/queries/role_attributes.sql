-- Of the roles that are there of those named: what ALTER ROLE and GRANT could have done to them.
-- `powerful`: they are in these, which are PostgreSQL's own, superusers, `app` or `schema_owner`, or have powers, directly or
-- not; `others`: the rest they are in. `settings`: ALTER ROLE … SET, with the database it holds in, '' for all.
WITH power AS (
    SELECT oid FROM pg_roles
     WHERE rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls OR rolname IN ('schema_owner', 'app')
        OR (rolname ~ '^pg_' AND rolname <> 'pg_database_owner')
), membership AS (
    SELECT DISTINCT m.member, g.rolname::text AS role,
           EXISTS (SELECT FROM power p WHERE p.oid = g.oid OR (NOT g.rolsuper AND pg_has_role(g.oid, p.oid, 'MEMBER'))) AS powerful
      FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
)
SELECT r.rolname, r.rolcanlogin, r.rolpassword, nullif(r.rolvaliduntil, 'infinity')::text, r.rolconnlimit,
       array_remove(ARRAY[CASE WHEN r.rolsuper THEN 'SUPERUSER' END, CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
                          CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END, CASE WHEN r.rolreplication THEN 'REPLICATION' END,
                          CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END], NULL),
       ARRAY(SELECT role FROM membership WHERE member = r.oid AND powerful ORDER BY 1),
       has_database_privilege(r.oid, current_database(), 'CONNECT'),
       r.rolinherit,
       ARRAY(SELECT role FROM membership WHERE member = r.oid AND NOT powerful ORDER BY 1),
       coalesce((SELECT json_agg(json_build_array(coalesce(d.datname, ''), split_part(word, '=', 1),
                                                  substr(word, strpos(word, '=') + 1)) ORDER BY 1)
                   FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase
                  CROSS JOIN unnest(s.setconfig) AS word
                  WHERE s.setrole = r.oid), '[]')
  FROM pg_authid r WHERE r.rolname = ANY(%(names)s) ORDER BY 1
