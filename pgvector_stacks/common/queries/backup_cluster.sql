-- The databases a backup takes, and what CREATE DATABASE and ALTER DATABASE would say of them. Templates stay out, and
-- what a restore has set aside or left unfinished.
SELECT d.datname AS name, pg_get_userbyid(d.datdba) AS owner, pg_encoding_to_char(d.encoding) AS encoding,
       d.datcollate AS collate, d.datctype AS ctype, d.datlocprovider AS provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,  -- renamed in 17
       d.datconnlimit AS connection_limit, pg_database_size(d.oid) AS bytes,
       shobj_description(d.oid, 'pg_database') AS comment,
       coalesce((SELECT json_agg(json_build_object(
                            'grantee', CASE a.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(a.grantee) END,
                            'privilege', a.privilege_type, 'grantable', a.is_grantable))
                   FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a), '[]') AS privileges,
       coalesce((SELECT json_agg(json_build_object(
                            'role', CASE r.setrole WHEN 0 THEN '' ELSE pg_get_userbyid(r.setrole) END,
                            'name', split_part(word, '=', 1), 'value', substr(word, strpos(word, '=') + 1)))
                   FROM pg_db_role_setting r CROSS JOIN unnest(r.setconfig) AS word
                  WHERE r.setdatabase = d.oid), '[]') AS settings
  FROM pg_database d
 WHERE d.datallowconn AND NOT d.datistemplate AND d.datname !~ '^pgstack_(restoring|before)_'
 ORDER BY d.datname
