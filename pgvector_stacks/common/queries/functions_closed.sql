-- Takes the functions {functions} from the role {role}: those that make large objects, or change them, and take advisory
-- locks. PostgreSQL lets everybody run them, and a right of everybody can't be taken from one: those who may enter this
-- database get it, but for `readonly` and the role of scheduled backups.
DO $$
DECLARE
    names constant text[] := '{functions}';
    made regprocedure;
    holder text;
BEGIN
    FOR made IN SELECT oid FROM pg_proc
                 WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY (names)
                   AND has_function_privilege('{role}', oid, 'EXECUTE') ORDER BY oid
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
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC, {role}', made);
    END LOOP;
    FOR made, holder IN  -- a role that was dropped and made again
        SELECT p.oid, r.rolname FROM pg_proc p CROSS JOIN pg_roles r
         WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY (names)
           AND r.rolname IN ('app', 'schema_owner') AND NOT has_function_privilege(r.oid, p.oid, 'EXECUTE') ORDER BY 1, 2
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', made, holder);
    END LOOP;
END $$;
