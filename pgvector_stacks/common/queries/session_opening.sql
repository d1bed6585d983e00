-- What is asked once a group: the settings that the connection's own options decide, its lock_timeout in ms, whether
-- any constraint or function has to do with deferring, a fresh OID (the transaction around it is rolled back), and whether
-- the database has functions besides PostgreSQL's and pgvector's, which an INSERT may run.
SELECT 'opening' AS pgstack_look, (SELECT coalesce(array_agg(name), '{}') FROM pg_settings WHERE source = 'client'),
       (SELECT setting::bigint FROM pg_settings WHERE name = 'lock_timeout'),
       (SELECT setting <> '0' FROM pg_settings WHERE name = 'transaction_timeout'),
       EXISTS (SELECT FROM pg_constraint WHERE condeferrable)
       OR EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                   WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
                     AND p.prosrc ~* 'defer'),
       lo_create(0)::bigint,
       EXISTS (SELECT FROM pg_proc p
                WHERE p.oid >= 16384 AND p.pronamespace <> coalesce(to_regnamespace('pgstack')::oid, 0)
                  AND p.oid NOT IN (SELECT d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                                     WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass
                                       AND d.deptype = 'e' AND e.extname = 'vector'))
