-- What decides whether and how a server can be upgraded: one row of JSON-able values, from any database of it.
SELECT current_setting('server_version_num')::int AS version_num,
       current_setting('data_checksums') = 'on' AS checksums,
       current_setting('wal_level') AS wal_level,
       current_setting('max_wal_senders')::int AS wal_senders,
       pg_size_bytes(current_setting('wal_segment_size'))::bigint AS wal_segment_bytes,
       (SELECT rolname FROM pg_authid WHERE oid = 10) AS superuser,
       (SELECT json_object_agg(name, setting) FROM pg_settings
         WHERE name IN ('max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions',
                        'max_locks_per_transaction')) AS standby_settings,
       current_setting('shared_preload_libraries') AS preload,
       (SELECT coalesce(json_object_agg(name, current_setting(name)), '{}') FROM pg_settings
         WHERE source = 'configuration file' AND sourcefile LIKE '%/postgresql.conf') AS written,
       (SELECT coalesce(json_object_agg(name, current_setting(name)), '{}') FROM pg_settings
         WHERE source = 'configuration file' AND sourcefile LIKE '%/postgresql.auto.conf') AS altered,
       (SELECT coalesce(sum(pg_database_size(oid)), 0)::bigint FROM pg_database) AS data_bytes,
       (SELECT coalesce(json_agg(gid || ' in ' || database), '[]') FROM pg_prepared_xacts) AS prepared,
       (SELECT coalesce(json_agg(slot_name), '[]') FROM pg_replication_slots WHERE slot_type = 'logical') AS logical_slots,
       (SELECT coalesce(json_agg(DISTINCT subname), '[]') FROM pg_subscription) AS subscriptions,
       (SELECT coalesce(json_agg(spcname), '[]') FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global'))
           AS tablespaces,
       (SELECT coalesce(json_agg(datname ORDER BY oid), '[]') FROM pg_database WHERE datallowconn) AS databases,
       (SELECT coalesce(json_agg(datname ORDER BY oid), '[]') FROM pg_database
         WHERE NOT datallowconn AND datname <> 'template0') AS closed_databases,
       (SELECT row_to_json(template) FROM (
           SELECT pg_encoding_to_char(encoding) AS encoding, datcollate AS collate, datctype AS ctype
             FROM pg_database WHERE datname = 'template0') AS template) AS template
