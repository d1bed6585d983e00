-- Rights that lie beside the schema, so that no drift tells them: grantee (NULL: everybody), privilege, what it is on as GRANT
-- names it, grantor, and whether somebody may have meant it. Asked are the roles %(names)s and everybody; in the schema
-- pgstack each role that is no superuser: who writes there marks scripts as applied.
WITH ours AS (
    SELECT oid FROM pg_roles WHERE rolname = ANY (%(names)s)
), given AS (
    SELECT 'PARAMETER ' || quote_ident(p.parname) AS what, a.*, true AS ours_only,
           a.privilege_type <> 'ALTER SYSTEM' AND p.parname <> ALL (%(forbidden)s) AS meant
      FROM pg_parameter_acl p CROSS JOIN aclexplode(p.paracl) a
    UNION ALL  -- who may enter these because everybody may, database_attributes.sql tells
    SELECT 'DATABASE ' || quote_ident(d.datname), a.*, true, d.datname = %(database)s
      FROM pg_database d CROSS JOIN aclexplode(d.datacl) a
     WHERE a.grantee <> 0 AND a.grantee <> d.datdba
       AND (d.datname = %(database)s
            AND (a.privilege_type = 'CREATE' OR a.privilege_type = 'TEMPORARY' AND pg_get_userbyid(a.grantee) = 'readonly')
            OR d.datname <> %(database)s AND d.datname IN ('postgres', 'template1'))
    UNION ALL
    SELECT 'SCHEMA ' || quote_ident(n.nspname), a.*, false, false
      FROM pg_namespace n CROSS JOIN aclexplode(n.nspacl) a
     WHERE n.nspname = 'pgstack' AND a.grantee <> n.nspowner AND a.privilege_type = 'CREATE'
    UNION ALL
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || format('%%I.%%I', n.nspname, c.relname), a.*, false, false
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN aclexplode(c.relacl) a
     WHERE n.nspname = 'pgstack' AND a.grantee <> c.relowner AND a.privilege_type <> 'SELECT'
    UNION ALL
    SELECT format('TABLE %%I.%%I', n.nspname, c.relname), a.grantor, a.grantee,
           format('%%s (%%I)', a.privilege_type, t.attname), a.is_grantable, false, false
      FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     CROSS JOIN aclexplode(t.attacl) a
     WHERE n.nspname = 'pgstack' AND a.grantee <> c.relowner AND a.privilege_type <> 'SELECT'
    UNION ALL
    SELECT 'FUNCTION ' || p.oid::regprocedure, a.*, false, false
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace CROSS JOIN aclexplode(p.proacl) a
     WHERE n.nspname = 'pgstack' AND a.grantee <> p.proowner AND pg_get_userbyid(a.grantee) <> 'schema_owner'
)
SELECT r.rolname, g.privilege_type, g.what, pg_get_userbyid(g.grantor), g.meant
  FROM given g LEFT JOIN pg_roles r ON r.oid = g.grantee
 WHERE g.grantee = 0 OR g.grantee IN (SELECT oid FROM ours) OR NOT g.ours_only AND NOT r.rolsuper
 ORDER BY g.what, r.rolname, g.privilege_type
