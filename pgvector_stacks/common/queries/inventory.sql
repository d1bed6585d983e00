-- The schema as pg_dump sees it, rights included: rows (kind, identity, definition, follows). A definition is lines
-- `word: value`; what a value has of line breaks is indented. `follows`: the row is part of a partition and no more
-- than its parent makes of it. What belongs to an extension, to PostgreSQL or to pgstack is left out but for rights
-- given on it. Versions of extensions are no part of it: ALTER EXTENSION UPDATE is no drift. Rights and options are
-- sets: they are sorted. tests/postgres/test_drift_and_pg_dump.py compares it with pg_dump, kind by kind.
WITH space AS MATERIALIZED (
    SELECT oid, nspname, nspowner, nspacl
      FROM pg_namespace
     WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'pgstack')
), member AS MATERIALIZED (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), note AS MATERIALIZED (
    SELECT classoid AS class, objoid AS object, objsubid AS part, string_agg(line, E'\n' ORDER BY line) AS lines
      FROM (SELECT classoid, objoid, objsubid, 'comment: ' || replace(description, E'\n', E'\n  ') AS line
              FROM pg_description WHERE objoid >= 16384 OR (classoid = 'pg_namespace'::regclass AND objoid = 2200)
            UNION ALL
            SELECT classoid, objoid, objsubid, format('label of %s: %s', provider, label) FROM pg_seclabel
            UNION ALL
            SELECT classid, objid, objsubid, format('depends on extension: %I', extname)
              FROM pg_depend JOIN pg_extension e ON e.oid = refobjid
             WHERE refclassid = 'pg_extension'::regclass AND deptype = 'x') AS one
     GROUP BY 1, 2, 3
), relation AS MATERIALIZED (
    SELECT c.*, format('%I.%I', s.nspname, c.relname) AS identity, parent.oid AS parent, n.lines AS notes,
           parent.oid IS NOT NULL AND c.relkind IN ('r', 'p') AND n.lines IS NULL
           AND c.relowner = parent.relowner AND c.relpersistence = parent.relpersistence
           AND c.relrowsecurity <= parent.relrowsecurity AND c.relforcerowsecurity <= parent.relforcerowsecurity
           AND c.relreplident IN ('d', parent.relreplident) AND c.reloptions IS NULL
           AND NOT EXISTS (SELECT FROM pg_class toast WHERE toast.oid = c.reltoastrelid AND toast.reloptions IS NOT NULL)
           AND c.reltablespace IN (0, parent.reltablespace) AND (c.relam = parent.relam OR c.relam = 2 AND c.relkind = 'r')
           AND (c.relacl IS NULL OR c.relacl <@ (acldefault('r', c.relowner) || parent.relacl) OR NOT EXISTS (SELECT FROM (
                   SELECT * FROM aclexplode(c.relacl)
                   EXCEPT SELECT given.* FROM unnest(acldefault('r', c.relowner) || parent.relacl) AS one,
                                              aclexplode(ARRAY[one]) AS given
                   EXCEPT SELECT given.* FROM pg_default_acl d, aclexplode(defaclacl) AS given
                           WHERE defaclrole = c.relowner AND defaclobjtype = 'r' AND defaclnamespace IN (0, c.relnamespace)
                   ) AS own)) AS plain
      FROM pg_class c
      JOIN space s ON s.oid = c.relnamespace
      LEFT JOIN pg_inherits i ON c.relispartition AND i.inhrelid = c.oid
      LEFT JOIN pg_class parent ON parent.oid = i.inhparent
      LEFT JOIN note n ON n.class = 'pg_class'::regclass AND n.object = c.oid AND n.part = 0
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
       AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_class'::regclass AND objid = c.oid)
), silenced AS MATERIALIZED (
    -- ALTER TABLE … DISABLE TRIGGER ALL: foreign keys that check nothing. pg_dump is silent on it, we are not.
    SELECT tgrelid AS relation,
           string_agg(DISTINCT format('%I %s', conname, tgenabled), ', ' ORDER BY format('%I %s', conname, tgenabled)) AS names
      FROM pg_trigger t JOIN pg_constraint k ON k.oid = tgconstraint
     WHERE tgisinternal AND tgenabled <> 'O' GROUP BY 1
), "column" AS MATERIALIZED (
    SELECT r.oid AS relation, r.parent, r.relkind, a.attname, format('%s.%I', r.identity, a.attname) AS identity,
           -- a view's follow from its query: what they have of their own is told, or an empty definition
           concat_ws(E'\n', CASE WHEN r.relkind IN ('r', 'p', 'f') THEN 'type: ' || format_type(a.atttypid, a.atttypmod) END,
               CASE WHEN a.attcollation <> t.typcollation AND a.attcollation <> 0
                    THEN 'collation: ' || a.attcollation::regcollation END,
               CASE WHEN a.attnotnull THEN 'not null: ' || concat_ws(' ',
                    CASE WHEN r.parent IS NULL AND NOT k.conislocal THEN 'inherited' ELSE 'yes' END,
                    CASE WHEN r.parent IS NULL AND k.conislocal AND k.connoinherit THEN 'no inherit' END,
                    CASE WHEN (r.parent IS NOT NULL OR k.conislocal) AND NOT k.convalidated THEN 'not valid' END) END,
               CASE WHEN a.attgenerated <> '' THEN 'generated: ' || a.attgenerated::text END,
               'default: ' || replace(pg_get_expr(d.adbin, d.adrelid), E'\n', E'\n  '),
               CASE WHEN a.attstorage <> t.typstorage THEN 'storage: ' || a.attstorage::text END,
               CASE WHEN a.attcompression <> '' THEN 'compression: ' || a.attcompression::text END) AS shape,
           nullif(concat_ws(E'\n',
               CASE WHEN a.attidentity <> '' THEN 'identity: ' || a.attidentity::text END,
               CASE WHEN NOT a.attislocal AND r.parent IS NULL THEN 'inherited: yes' END,
               'statistics: ' || nullif(a.attstattarget, -1),
               -- pg_attver says when a column was made: Debian's 17.12 notes it, and its pg_dump omits it
               'options: ' || (SELECT string_agg(one, ', ' ORDER BY one) FROM unnest(a.attoptions) AS one
                                WHERE one !~ '^pg_attver='),
               'foreign options: ' || (SELECT string_agg(one, ', ' ORDER BY one) FROM unnest(a.attfdwoptions) AS one),
               CASE WHEN a.attacl IS NOT NULL THEN
                    (SELECT string_agg('right: ' || one::text, E'\n' ORDER BY one::text COLLATE "C")
                       FROM unnest(a.attacl) AS one) END,
               n.lines, 'of not null: ' || replace(named.lines, E'\n', E'\n  ')), '') AS own,
           -- not part of the shape: a partition that came at run time has any, by how it was made
           CASE WHEN (r.parent IS NOT NULL OR k.conislocal) AND k.conname <> r.relname || '_' || a.attname || '_not_null'
                THEN 'name of not null: ' || quote_ident(k.conname) END AS not_null_name
      FROM relation r
      JOIN pg_attribute a ON a.attrelid = r.oid AND (a.attnum > 0 OR a.attacl IS NOT NULL) AND NOT a.attisdropped
      JOIN pg_type t ON t.oid = a.atttypid
      LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
      LEFT JOIN pg_constraint k ON a.attnotnull AND k.conrelid = r.oid AND k.contype = 'n' AND k.conkey[1] = a.attnum
      LEFT JOIN note n ON n.class = 'pg_class'::regclass AND n.object = r.oid AND n.part = a.attnum
      LEFT JOIN note named ON named.class = 'pg_constraint'::regclass AND named.object = k.oid
)
SELECT 'schema' AS kind, format('%I', nspname) AS identity,
       concat_ws(E'\n', 'owner: ' || pg_get_userbyid(nspowner),
           (SELECT string_agg('right: ' || one::text, E'\n' ORDER BY one::text COLLATE "C")
              FROM unnest(coalesce(nspacl, acldefault('n', nspowner))) AS one), n.lines) AS definition, false AS follows
  FROM space LEFT JOIN note n ON n.class = 'pg_namespace'::regclass AND n.object = oid
 WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_namespace'::regclass AND objid = space.oid)
UNION ALL
SELECT 'extension', format('%I', extname), concat_ws(E'\n', 'schema: ' || extnamespace::regnamespace, n.lines), false
  FROM pg_extension LEFT JOIN note n ON n.class = 'pg_extension'::regclass AND n.object = oid
 WHERE oid >= 16384
UNION ALL
SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' ELSE 'table' END,
       identity,
       concat_ws(E'\n', 'owner: ' || pg_get_userbyid(relowner),
           (SELECT string_agg('right: ' || one::text, E'\n' ORDER BY one::text COLLATE "C")
              FROM unnest(coalesce(relacl, acldefault('r', relowner))) AS one),
           'options: ' || (SELECT string_agg(one, ', ' ORDER BY one) FROM unnest(r.reloptions) AS one),
           'toast options: ' || (SELECT string_agg(one, ', ' ORDER BY one)
                                   FROM pg_class toast, unnest(toast.reloptions) AS one WHERE toast.oid = r.reltoastrelid),
           CASE WHEN relpersistence = 'u' THEN 'unlogged: yes' END,
           CASE WHEN relrowsecurity THEN 'row security: on' END,
           CASE WHEN relforcerowsecurity THEN 'forced row security: on' END,
           CASE relreplident WHEN 'f' THEN 'replica identity: full' WHEN 'n' THEN 'replica identity: nothing' END,
           CASE WHEN reloftype <> 0 THEN 'of type: ' || reloftype::regtype END,
           CASE WHEN relam <> 0 AND (relkind = 'p' OR relam <> 2)
                THEN 'access method: ' || (SELECT amname FROM pg_am a WHERE a.oid = relam) END,
           CASE WHEN reltablespace <> 0
                THEN 'tablespace: ' || (SELECT spcname FROM pg_tablespace p WHERE p.oid = reltablespace) END,
           CASE WHEN relkind = 'p' THEN 'partition by: ' || pg_get_partkeydef(oid) END,
           'partition of: ' || parent::regclass || ' ' || pg_get_expr(relpartbound, oid),
           CASE WHEN parent IS NULL THEN 'inherits: ' ||
               (SELECT string_agg(inhparent::regclass::text, ', ' ORDER BY inhseqno) FROM pg_inherits WHERE inhrelid = oid) END,
           CASE WHEN relkind = 'f' THEN
               (SELECT concat_ws(E'\n', format('server: %I', srvname),
                                  'foreign options: ' || (SELECT string_agg(one, ', ' ORDER BY one) FROM unnest(ftoptions) AS one))
                  FROM pg_foreign_table t JOIN pg_foreign_server f ON f.oid = ftserver WHERE ftrelid = r.oid) END,
           CASE WHEN relkind IN ('v', 'm') THEN concat('query: md5 ', md5(pg_get_viewdef(oid))) END,
           'triggers of constraints: ' || s.names, notes),
       coalesce(plain AND s.names IS NULL, false)
  FROM relation r LEFT JOIN silenced s ON s.relation = r.oid
UNION ALL
SELECT 'column', c.identity, concat_ws(E'\n', nullif(c.shape, ''), c.not_null_name, c.own),
       coalesce(string_to_array(c.shape, E'\n') <@ string_to_array(p.shape, E'\n')
                AND (c.own IS NULL OR string_to_array(c.own, E'\n') <@ string_to_array(p.own, E'\n')), false)
  FROM "column" c LEFT JOIN "column" p ON p.relation = c.parent AND p.attname = c.attname
UNION ALL
SELECT 'column order', r.identity, 'names: ' || jsonb_agg(attname ORDER BY attnum)::text, r.parent IS NOT NULL
  FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND attnum > 0 AND NOT attisdropped
 WHERE relkind IN ('r', 'p', 'f') GROUP BY r.identity, r.parent
UNION ALL  -- an invalid one is left out, as pg_dump does
SELECT 'index', format('%s.%I', r.identity, i.relname),
       concat_ws(E'\n', 'definition: ' || replace(pg_get_indexdef(x.indexrelid), E'\n', E'\n  '),
           'part of: ' || h.inhparent::regclass,
           CASE WHEN x.indisclustered THEN 'cluster on: yes' END,
           CASE WHEN x.indisreplident THEN 'replica identity: yes' END,
           CASE WHEN i.reltablespace <> 0
                THEN 'tablespace: ' || (SELECT spcname FROM pg_tablespace p WHERE p.oid = i.reltablespace) END,
           CASE WHEN x.indexprs IS NOT NULL THEN 'statistics: ' ||
               (SELECT string_agg(format('%s %s', attnum, attstattarget), ', ' ORDER BY attnum)
                  FROM pg_attribute WHERE attrelid = i.oid AND attstattarget >= 0) END, n.lines),
       r.parent IS NOT NULL AND h.inhparent IS NOT NULL AND NOT x.indisclustered
       AND i.reloptions IS NOT DISTINCT FROM up.reloptions AND (n.lines IS NULL OR n.lines = above.lines)
  FROM relation r JOIN pg_index x ON x.indrelid = r.oid JOIN pg_class i ON i.oid = x.indexrelid
  LEFT JOIN pg_inherits h ON h.inhrelid = i.oid
  LEFT JOIN pg_class up ON up.oid = h.inhparent
  LEFT JOIN note n ON n.class = 'pg_class'::regclass AND n.object = i.oid AND n.part = 0
  LEFT JOIN note above ON above.class = 'pg_class'::regclass AND above.object = up.oid AND above.part = 0
 WHERE x.indisvalid OR i.relkind = 'I'
UNION ALL
SELECT 'constraint', format('%s.%I', r.identity, k.conname),
       concat_ws(E'\n', 'definition: ' || replace(pg_get_constraintdef(k.oid), E'\n', E'\n  '),
           CASE WHEN NOT k.conislocal THEN 'inherited: yes' END,
           -- pg_dump writes no comment on an inherited check
           CASE WHEN k.conislocal OR k.contype <> 'c' THEN n.lines END),
       r.parent IS NOT NULL AND k.coninhcount > 0 AND (n.lines IS NULL OR NOT k.conislocal AND k.contype = 'c')
  FROM relation r JOIN pg_constraint k ON k.conrelid = r.oid
  LEFT JOIN note n ON n.class = 'pg_constraint'::regclass AND n.object = k.oid
 WHERE k.contype NOT IN ('n', 't') AND (k.conparentid = 0 OR k.contype IN ('p', 'u', 'x') AND n.lines IS NOT NULL)
UNION ALL  -- of a trigger that a partition has from its parent: only whether it fires
SELECT 'trigger', format('%s.%I', r.identity, t.tgname),
       concat_ws(E'\n', CASE WHEN t.tgparentid = 0 THEN 'definition: ' || replace(pg_get_triggerdef(t.oid), E'\n', E'\n  ') END,
           'fires: ' || CASE t.tgenabled WHEN 'D' THEN 'never' WHEN 'R' THEN 'on replicas' WHEN 'A' THEN 'always' END,
           n.lines), false
  FROM relation r JOIN pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
  LEFT JOIN note n ON n.class = 'pg_trigger'::regclass AND n.object = t.oid
 WHERE t.tgparentid = 0 OR t.tgenabled <> (SELECT tgenabled FROM pg_trigger p WHERE p.oid = t.tgparentid)
UNION ALL
SELECT 'rule', format('%s.%I', r.identity, w.rulename),
       concat_ws(E'\n', 'definition: ' || replace(pg_get_ruledef(w.oid), E'\n', E'\n  '),
           'applies: ' || CASE w.ev_enabled WHEN 'D' THEN 'never' WHEN 'R' THEN 'on replicas' WHEN 'A' THEN 'always' END,
           n.lines), false
  FROM relation r JOIN pg_rewrite w ON w.ev_class = r.oid
  LEFT JOIN note n ON n.class = 'pg_rewrite'::regclass AND n.object = w.oid
 WHERE w.rulename <> '_RETURN'
UNION ALL
SELECT 'policy', format('%s.%I', r.identity, p.polname),
       concat_ws(E'\n', CASE WHEN p.polpermissive THEN 'kind: permissive' ELSE 'kind: restrictive' END,
           'for: ' || CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update'
                                    WHEN 'd' THEN 'delete' ELSE 'all' END,
           'to: ' || (SELECT string_agg(CASE one WHEN 0 THEN 'public' ELSE one::regrole::text END, ', '
                                        ORDER BY pg_get_userbyid(one)) FROM unnest(p.polroles) AS one),
           'using: ' || replace(pg_get_expr(p.polqual, p.polrelid), E'\n', E'\n  '),
           'with check: ' || replace(pg_get_expr(p.polwithcheck, p.polrelid), E'\n', E'\n  '), n.lines), false
  FROM relation r JOIN pg_policy p ON p.polrelid = r.oid
  LEFT JOIN note n ON n.class = 'pg_policy'::regclass AND n.object = p.oid
UNION ALL
SELECT 'sequence', format('%I.%I', s.nspname, c.relname),
       concat_ws(E'\n', 'owner: ' || pg_get_userbyid(c.relowner),
           (SELECT string_agg('right: ' || one::text, E'\n' ORDER BY one::text COLLATE "C")
              FROM unnest(coalesce(c.relacl, acldefault('s', c.relowner))) AS one),
           format(E'type: %s\nstart: %s\nincrement: %s\nminimum: %s\nmaximum: %s\ncache: %s', format_type(seqtypid, NULL),
                  seqstart, seqincrement, seqmin, seqmax, seqcache),
           CASE WHEN seqcycle THEN 'cycle: yes' END, CASE WHEN c.relpersistence = 'u' THEN 'unlogged: yes' END,
           'owned by: ' || d.refobjid::regclass || '.' || quote_ident(a.attname), n.lines), false
  FROM pg_sequence q JOIN pg_class c ON c.oid = q.seqrelid JOIN space s ON s.oid = c.relnamespace
  LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
                       AND d.refclassid = 'pg_class'::regclass
  LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
  LEFT JOIN note n ON n.class = 'pg_class'::regclass AND n.object = c.oid AND n.part = 0
 WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_class'::regclass AND objid = c.oid)
UNION ALL
SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
       format('%I.%I(%s)', s.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
       concat_ws(E'\n', 'owner: ' || pg_get_userbyid(proowner),
           (SELECT string_agg('right: ' || one::text, E'\n' ORDER BY one::text COLLATE "C")
              FROM unnest(coalesce(proacl, acldefault('f', proowner))) AS one),
           concat('definition: md5 ', CASE WHEN p.prokind <> 'a' THEN md5(pg_get_functiondef(p.oid)) ELSE (
               SELECT md5(concat_ws(' ', pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), p.proparallel,
                          format_type(aggtranstype, NULL), format_type(aggmtranstype, NULL), aggsortop::regoperator,
                          to_jsonb(a) - '{aggfnoid,aggtranstype,aggmtranstype,aggsortop}'::text[]))
                 FROM pg_aggregate a WHERE aggfnoid = p.oid) END), n.lines), false
  FROM pg_proc p JOIN space s ON s.oid = p.pronamespace
  LEFT JOIN note n ON n.class = 'pg_proc'::regclass AND n.object = p.oid
 WHERE NOT EXISTS (SELECT FROM pg_depend  -- an extension's, or a range type's constructor
                    WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype IN ('e', 'i'))
UNION ALL
SELECT CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' ELSE 'type' END, format('%I.%I', s.nspname, t.typname),
       concat_ws(E'\n', 'owner: ' || pg_get_userbyid(t.typowner),
           (SELECT string_agg('right: ' || one::text, E'\n' ORDER BY one::text COLLATE "C")
              FROM unnest(coalesce(t.typacl, acldefault('T', t.typowner))) AS one),
           CASE t.typtype
           WHEN 'e' THEN 'values: ' || (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder)
                                          FROM pg_enum WHERE enumtypid = t.oid)
           WHEN 'd' THEN concat_ws(E'\n', 'base: ' || format_type(t.typbasetype, t.typtypmod),
               (SELECT 'collation: ' || t.typcollation::regcollation FROM pg_type base
                 WHERE base.oid = t.typbasetype AND base.typcollation <> t.typcollation),
               'default: ' || replace(pg_get_expr(t.typdefaultbin, 0), E'\n', E'\n  '),
               CASE WHEN t.typnotnull THEN 'not null: yes' END,
               (SELECT string_agg(concat_ws(E'\n  ', format('constraint %I: %s', conname,
                                                           replace(pg_get_constraintdef(k.oid), E'\n', E'\n  ')),
                                            replace(m.lines, E'\n', E'\n  ')), E'\n' ORDER BY conname)
                  FROM pg_constraint k LEFT JOIN note m ON m.class = 'pg_constraint'::regclass AND m.object = k.oid
                 WHERE contypid = t.oid))
           WHEN 'r' THEN (SELECT concat_ws(E'\n', 'subtype: ' || format_type(rngsubtype, NULL),
                                           'multirange: ' || format_type(rngmultitypid, NULL),
                                           'collation: ' || nullif(rngcollation, 0)::regcollation,
                                           'canonical: ' || nullif(rngcanonical::oid, 0)::regproc,
                                           'difference: ' || nullif(rngsubdiff::oid, 0)::regproc,
                                           'operator class: ' || (SELECT format('%s.%I', opcnamespace::regnamespace, opcname)
                                                                    FROM pg_opclass WHERE oid = rngsubopc))
                            FROM pg_range WHERE rngtypid = t.oid)
           WHEN 'b' THEN 'definition: ' || concat_ws(' ', t.typlen, t.typbyval, t.typalign, t.typstorage, t.typcategory,
                t.typispreferred, t.typdelim, t.typelem::regtype, t.typcollation::regcollation, t.typinput, t.typoutput,
                t.typreceive, t.typsend, t.typmodin, t.typmodout, t.typanalyze, t.typsubscript, t.typdefault)
           WHEN 'c' THEN (SELECT string_agg(concat_ws(E'\n  ', format('attribute %I: %s', attname,
                                  format_type(atttypid, atttypmod) || CASE WHEN attcollation <> base.typcollation
                                  THEN ' ' || attcollation::regcollation ELSE '' END), replace(m.lines, E'\n', E'\n  ')),
                                  E'\n' ORDER BY attnum)
                            FROM pg_attribute JOIN pg_type base ON base.oid = atttypid
                            LEFT JOIN note m ON m.class = 'pg_class'::regclass AND m.object = attrelid AND m.part = attnum
                           WHERE attrelid = t.typrelid AND attnum > 0 AND NOT attisdropped)
           ELSE 'defined: no' END, n.lines), false
  FROM pg_type t JOIN space s ON s.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
  LEFT JOIN note n ON n.class = 'pg_type'::regclass AND n.object = t.oid
 WHERE (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c') OR NOT t.typisdefined
        OR (t.typtype = 'b' AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)))
   AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_type'::regclass AND objid = t.oid)
