-- Who may make large objects in this database: those who may enter it, but for `readonly`. PostgreSQL lets everybody,
-- and a right of everybody can't be taken from one.
DO $$
DECLARE
    made regprocedure;
    holder text;
BEGIN
    FOR made IN SELECT oid FROM pg_proc
                 WHERE pronamespace = 'pg_catalog'::regnamespace AND proname IN ('lo_creat', 'lo_create', 'lo_from_bytea')
                   AND has_function_privilege('readonly', oid, 'EXECUTE') ORDER BY oid
    LOOP
        FOR holder IN
            SELECT DISTINCT pg_get_userbyid(a.grantee)
              FROM pg_database d CROSS JOIN aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
             WHERE d.datname = current_database() AND a.grantee <> 0 AND a.privilege_type = 'CONNECT'
               AND pg_get_userbyid(a.grantee) NOT IN ('readonly', 'pgstack_backup')
             ORDER BY 1
        LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', made, holder);
        END LOOP;
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC, readonly', made);
    END LOOP;
    FOR made, holder IN  -- a role that was dropped and made again
        SELECT p.oid, r.rolname FROM pg_proc p CROSS JOIN pg_roles r
         WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname IN ('lo_creat', 'lo_create', 'lo_from_bytea')
           AND r.rolname IN ('app', 'schema_owner') AND NOT has_function_privilege(r.oid, p.oid, 'EXECUTE') ORDER BY 1, 2
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', made, holder);
    END LOOP;
END $$;
