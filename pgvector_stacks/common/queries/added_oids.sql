-- The OIDs of relations, functions and types by kind and identity as in inventory.sql: number as asked, and OID.
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest(%(kinds)s::text[], %(identities)s::text[]) WITH ORDINALITY AS a(kind, identity, number)
)
SELECT number, c.oid::int8 FROM asked JOIN pg_namespace n ON true JOIN pg_class c ON c.relnamespace = n.oid
 WHERE kind IN ('table', 'view', 'materialized view', 'foreign table', 'sequence')
   AND identity = format('%%I.%%I', n.nspname, c.relname)
UNION ALL
SELECT number, p.oid::int8 FROM asked JOIN pg_namespace n ON true JOIN pg_proc p ON p.pronamespace = n.oid
 WHERE kind IN ('function', 'procedure', 'aggregate')
   AND identity = format('%%I.%%I(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid))
UNION ALL
SELECT number, t.oid::int8 FROM asked JOIN pg_namespace n ON true JOIN pg_type t ON t.typnamespace = n.oid
 WHERE kind IN ('enum', 'domain', 'type') AND identity = format('%%I.%%I', n.nspname, t.typname)
