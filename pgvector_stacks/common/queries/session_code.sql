-- Lets PL/pgSQL read the owner's functions again: a session keeps the types that it found when it first ran one, whatever
-- happened to the columns and types since. A change that changes nothing is enough.
DO $pgstack$
DECLARE
    code record;
BEGIN
    FOR code IN
        SELECT pg_catalog.format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)) AS name,
               CASE WHEN p.prosecdef THEN 'DEFINER' ELSE 'INVOKER' END AS security
          FROM pg_catalog.pg_proc p
          JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
          JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang
         WHERE l.lanname OPERATOR(pg_catalog.=) 'plpgsql' AND p.proowner OPERATOR(pg_catalog.=) current_user::regrole
           AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND NOT pg_catalog.pg_is_other_temp_schema(n.oid)
    LOOP
        EXECUTE pg_catalog.format('ALTER ROUTINE %s SECURITY %s', code.name, code.security);
    END LOOP;
END $pgstack$
