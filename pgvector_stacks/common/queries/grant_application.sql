-- Gives `app` and `readonly` their rights on what schema_owner owns. In an adopted database on what has no rights of its
-- own; where a role was dropped and had to be made again, on what the recorded schema has rights of that role for, so that
-- what the scripts took from it stays taken. Run as schema_owner.
DO $$
DECLARE
    role text;
    spaces text;
    tables text;
    sequences text;
    due text[] := '{}';  -- all of it is decided before the first is given
    one text;
BEGIN
    FOREACH role IN ARRAY ARRAY['app', 'readonly'] LOOP
        SELECT string_agg(identity, ', ') FILTER (WHERE kind = 'n'), string_agg(identity, ', ') FILTER (WHERE kind = 'r'),
               string_agg(identity, ', ') FILTER (WHERE kind = 'S')
          INTO spaces, tables, sequences
          FROM (
            SELECT 'n' AS kind, format('%I', nspname) AS identity, format('%I', nspname) AS recorded, nspacl AS acl, NULL AS column_acl
              FROM pg_namespace
             WHERE nspowner = current_user::regrole AND nspname !~ '^pg_' AND nspname <> 'pgstack'
            UNION ALL
            SELECT CASE c.relkind WHEN 'S' THEN 'S' ELSE 'r' END, format('%I.%I', n.nspname, c.relname),
                   coalesce((SELECT format('%I.%I', tn.nspname, t.relname)
                               FROM pg_depend d JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace tn ON tn.oid = t.relnamespace
                              WHERE c.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') LIMIT 1),
                            format('%I.%I', n.nspname, c.relname)),
                   c.relacl,
                   (SELECT string_agg(a.attacl::text, ' ') FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL)
              FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relowner = current_user::regrole AND n.nspname !~ '^pg_' AND n.nspname <> 'pgstack'
               AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
          ) AS owned
          LEFT JOIN LATERAL (
            SELECT bool_or(o.definition ~ format('\m%s\M', role)) AS has_role
              FROM pgstack.object o
             WHERE o.identity = owned.recorded
               AND o.kind IN ('schema', 'table', 'view', 'materialized view', 'foreign table', 'sequence')
          ) AS record ON true
         WHERE coalesce(has_role, acl IS NULL AND column_acl IS NULL)
           AND NOT EXISTS (SELECT FROM aclexplode(acl) WHERE grantee = role::regrole);
        IF spaces IS NOT NULL THEN
            due := due || format('GRANT USAGE ON SCHEMA %s TO %I', spaces, role);
        END IF;
        IF tables IS NOT NULL THEN
            due := due || format('GRANT %s ON %s TO %I', CASE role WHEN 'app' THEN 'SELECT, INSERT, UPDATE, DELETE' ELSE 'SELECT' END,
                           tables, role);
        END IF;
        IF sequences IS NOT NULL THEN
            due := due || format('GRANT %s ON SEQUENCE %s TO %I', CASE role WHEN 'app' THEN 'USAGE, SELECT' ELSE 'SELECT' END,
                           sequences, role);
        END IF;
    END LOOP;
    FOREACH one IN ARRAY due LOOP
        EXECUTE one;
    END LOOP;
END
$$
