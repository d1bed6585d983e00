-- Gives lists without elements, which ALTER … SET … FROM CURRENT makes, a form that pg_dump can write: it writes
-- `SET search_path TO ;`. Every role may do so for itself. What is set means the same before and after.
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT CASE WHEN s.setrole = 0 THEN 'DATABASE ' || quote_ident(d.datname)
                    ELSE 'ROLE ' || quote_ident(r.rolname) || coalesce(' IN DATABASE ' || quote_ident(d.datname), '') END AS whose,
               split_part(word, '=', 1) AS name
          FROM pg_db_role_setting s
          LEFT JOIN pg_roles r ON r.oid = s.setrole
          LEFT JOIN pg_database d ON d.oid = s.setdatabase
         CROSS JOIN unnest(s.setconfig) AS word
         WHERE lower(word) IN ('search_path=', 'temp_tablespaces=', 'local_preload_libraries=', 'session_preload_libraries=')
    LOOP
        -- an empty name is no library
        EXECUTE format(CASE WHEN found.name ~* 'libraries' THEN 'ALTER %s RESET %I' ELSE 'ALTER %s SET %I TO ''''' END,
                       found.whose, found.name);
    END LOOP;
END $$
