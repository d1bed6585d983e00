-- Checks what was deferred to the end of a script, and puts each constraint back to how it was declared. By name:
-- SET CONSTRAINTS ALL would hold for the constraints that the scripts behind make, too. The constraints of one name in
-- one schema are set at once; where one of them can't be deferred, none is.
DO $pgstack$
DECLARE
    every text;
    deferred text;
BEGIN
    SELECT pg_catalog.string_agg(name, ', '), pg_catalog.string_agg(name, ', ') FILTER (WHERE is_deferred) INTO every, deferred
      FROM (
        SELECT pg_catalog.format('%I.%I', n.nspname, k.conname) AS name,
               pg_catalog.bool_or(k.condeferred) AND NOT EXISTS (
                   SELECT FROM pg_catalog.pg_constraint o
                    WHERE o.connamespace OPERATOR(pg_catalog.=) k.connamespace
                      AND o.conname OPERATOR(pg_catalog.=) k.conname AND NOT o.condeferrable) AS is_deferred
          FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) k.connamespace
         WHERE k.condeferrable AND k.conparentid OPERATOR(pg_catalog.=) 0::pg_catalog.oid
           AND NOT pg_catalog.pg_is_other_temp_schema(n.oid) AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
         GROUP BY n.nspname, k.connamespace, k.conname
      ) AS declared;
    IF every IS NOT NULL THEN
        EXECUTE pg_catalog.concat('SET CONSTRAINTS ', every, ' IMMEDIATE');
    END IF;
    IF deferred IS NOT NULL THEN
        EXECUTE pg_catalog.concat('SET CONSTRAINTS ', deferred, ' DEFERRED');
    END IF;
END
$pgstack$
