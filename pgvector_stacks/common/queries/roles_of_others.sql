-- Roles that are neither the stack's nor the one that asks nor initdb's, and what they could do to the stack: their
-- powers, and the roles they are in that reach files, programs, all rows or the schema.
SELECT r.rolname,
       array_remove(ARRAY[CASE WHEN r.rolsuper THEN 'SUPERUSER' END, CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
                          CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END, CASE WHEN r.rolreplication THEN 'REPLICATION' END,
                          CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END], NULL),
       ARRAY(SELECT g.rolname::text FROM pg_roles g
              WHERE g.rolname IN ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files',
                                  'pg_write_all_data', 'pg_read_all_data', 'schema_owner', 'app', 'readonly', 'pgstack_backup')
                AND NOT r.rolsuper AND pg_has_role(r.oid, g.oid, 'MEMBER') ORDER BY 1)
  FROM pg_roles r
 WHERE r.rolname <> ALL(%(names)s) AND r.rolname <> current_user AND r.oid <> 10 AND r.rolname !~ '^pg_' AND r.rolname <> 'pgstack_loading'
 ORDER BY 1
