-- What must be the same before and after, without reading everything: (what, how it is). Relations with their kind and
-- size, the first rows of each table, the state of each sequence, how many objects of other kinds there are.
-- {exact}: false, or true where the size on disk says nothing (a restored dump) and rows are counted instead.
SELECT format('%s %I.%I', k.word, n.nspname, c.relname) AS what,
       CASE
           WHEN c.relkind = 'S' THEN coalesce(pg_sequence_last_value(c.oid)::text, 'unused')
           WHEN c.relkind IN ('r', 'm') THEN concat_ws(' ', pg_temp.pgstack_sample(c.oid::regclass),
               CASE WHEN {exact} THEN pg_temp.pgstack_count(c.oid::regclass) ELSE pg_relation_size(c.oid) END)
           WHEN c.relkind = 'i' AND NOT {exact} THEN pg_relation_size(c.oid)::text
           ELSE 'there'
       END AS how
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN (VALUES ('r'::"char", 'table'), ('m', 'materialized view'), ('p', 'partitioned table'), ('i', 'index'),
               ('I', 'partitioned index'), ('v', 'view'), ('S', 'sequence'), ('f', 'foreign table'), ('c', 'type'))
       AS k(kind, word) ON k.kind = c.relkind
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_t(emp|oast)'
UNION ALL
SELECT 'number of ' || kind, count
  FROM (VALUES
           ('functions', (SELECT count(*) FROM pg_proc p WHERE p.oid >= 16384
                             AND p.pronamespace <> pg_my_temp_schema() AND NOT EXISTS (
                                 SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'))::text),
           ('constraints', (SELECT count(*) FROM pg_constraint WHERE oid >= 16384 AND contype <> 'n')::text),
           ('triggers', (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal)::text),
           ('policies', (SELECT count(*) FROM pg_policy)::text),
           ('comments', (SELECT count(*) FROM pg_description c WHERE c.objoid >= 16384
                                 AND c.classoid <> 'pg_extension'::regclass AND NOT EXISTS (
                                 SELECT FROM pg_depend d WHERE d.classid = c.classoid AND d.objid = c.objoid AND d.deptype = 'e'))::text),
           ('large objects', (SELECT count(*) FROM pg_largeobject_metadata)::text),
           ('publications', (SELECT count(*) FROM pg_publication)::text),
           ('roles', (SELECT count(*) || ', ' || count(rolpassword) || ' with a password' FROM pg_authid
                       WHERE (oid >= 16384 OR oid = 10) AND rolname !~ '^pgstack_asking_'))
       ) AS counted(kind, count)
 ORDER BY 1
