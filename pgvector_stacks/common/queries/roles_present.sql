-- The roles, and whether its members are superusers, or as good as one: PostgreSQL's roles for programs and files.
SELECT r.rolname, r.rolsuper OR EXISTS (
           SELECT FROM pg_roles p
            WHERE p.rolname IN ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files')
              AND pg_has_role(r.oid, p.oid, 'MEMBER'))
  FROM pg_roles r
