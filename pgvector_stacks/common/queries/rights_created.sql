-- What the two windows hold for: schemas, tables and whatever reads like one, sequences, and whether schema_owner owns it:
-- what others own shows how far the OIDs have come. For each of
-- the two roles of the application whether its rights or those of its columns have a word about it, and for a partition
-- the table it is a part of with what the roles may do there. `belongs`: the table whose column a sequence counts for.
SELECT 'object' AS pgstack_look, oid::text, kind, nspname, relname, identity, says_app::text, says_readonly::text, parent::text,
       CASE WHEN parent <> 0 THEN array_to_string(ARRAY(
           SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p
            WHERE has_table_privilege('app', parent, p)), ',') END,
       CASE WHEN parent <> 0 AND has_table_privilege('readonly', parent, 'SELECT') THEN 'SELECT' END, belongs, owned::text
  FROM (
    SELECT c.oid, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, n.nspname, c.relname,
           format('%I.%I', n.nspname, c.relname) AS identity,
           EXISTS (SELECT FROM aclexplode(c.relacl) WHERE grantee = 'app'::regrole)
           OR EXISTS (SELECT FROM pg_attribute a, aclexplode(a.attacl) x
                       WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL AND x.grantee = 'app'::regrole) AS says_app,
           EXISTS (SELECT FROM aclexplode(c.relacl) WHERE grantee = 'readonly'::regrole)
           OR EXISTS (SELECT FROM pg_attribute a, aclexplode(a.attacl) x
                       WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL AND x.grantee = 'readonly'::regrole) AS says_readonly,
           CASE WHEN c.relispartition
                THEN coalesce((SELECT inhparent FROM pg_inherits WHERE inhrelid = c.oid LIMIT 1), 0) ELSE 0 END AS parent,
           CASE WHEN c.relkind = 'S' THEN (
               SELECT format('%I.%I', tn.nspname, t.relname)
                 FROM pg_depend d JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace tn ON tn.oid = t.relnamespace
                WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass
                  AND d.deptype IN ('a', 'i') LIMIT 1) END AS belongs,
           c.relowner = 'schema_owner'::regrole AS owned
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE {window_of_relation} AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
       AND n.nspname !~ '^pg_' AND n.nspname <> 'pgstack'
    UNION ALL
    SELECT n.oid, 'SCHEMA', n.nspname, '', format('%I', n.nspname), EXISTS (SELECT FROM aclexplode(n.nspacl) WHERE grantee = 'app'::regrole),
           EXISTS (SELECT FROM aclexplode(n.nspacl) WHERE grantee = 'readonly'::regrole), 0, NULL,
           n.nspowner = 'schema_owner'::regrole
      FROM pg_namespace n
     WHERE {window_of_schema} AND n.nspname !~ '^pg_' AND n.nspname <> 'pgstack'
  ) AS object
