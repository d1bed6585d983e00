-- Fails where the schema pgstack or something in it is not a superuser's: what is in it runs with his rights.
DO $$
DECLARE others text;
BEGIN
    SELECT string_agg(DISTINCT pg_get_userbyid(found.owner), ', ') INTO others
      FROM (SELECT nspowner FROM pg_namespace WHERE nspname = 'pgstack'
            UNION ALL SELECT relowner FROM pg_class WHERE relnamespace = to_regnamespace('pgstack')
            UNION ALL SELECT proowner FROM pg_proc WHERE pronamespace = to_regnamespace('pgstack')) AS found(owner)
     WHERE NOT (SELECT rolsuper FROM pg_roles WHERE oid = found.owner);
    IF others IS NOT NULL THEN
        RAISE EXCEPTION 'in the database %, the schema pgstack or something in it belongs to %', current_database(), others
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'Its owner could mark scripts as applied, or keep the lock. Look at it; then give it to the'
                         ' administrator (ALTER SCHEMA pgstack OWNER TO postgres, and so for each object in it), or drop it.';
    END IF;
END $$
