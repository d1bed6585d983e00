-- What is asked once a group: the settings that the connection's own options decide, its lock_timeout in ms, whether
-- any constraint or function has to do with deferring, and a fresh OID (the transaction around it is rolled back).
SELECT 'opening' AS pgstack_look, (SELECT coalesce(array_agg(name), '{}') FROM pg_settings WHERE source = 'client'),
       (SELECT setting::bigint FROM pg_settings WHERE name = 'lock_timeout'),
       (SELECT setting <> '0' FROM pg_settings WHERE name = 'transaction_timeout'),
       EXISTS (SELECT FROM pg_constraint WHERE condeferrable)
       OR EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                   WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
                     AND p.prosrc ~* 'deferrable'),
       lo_create(0)::bigint
