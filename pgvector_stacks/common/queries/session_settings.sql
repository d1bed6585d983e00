-- What a new connection of schema_owner to this database would find set by ALTER DATABASE and ALTER ROLE, as JSON.
SELECT 'settings' AS pgstack_look, coalesce(json_object_agg(name, value), '{}')::text
  FROM (
    SELECT DISTINCT ON (name) name, value
      FROM pg_db_role_setting s, unnest(s.setconfig) AS entry,
           LATERAL (SELECT split_part(entry, '=', 1) AS name, substr(entry, strpos(entry, '=') + 1) AS value) AS pair
     WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
       AND s.setrole IN (0, 'schema_owner'::regrole)
     ORDER BY name, s.setrole <> 0 DESC, s.setdatabase <> 0 DESC
  ) AS holds
