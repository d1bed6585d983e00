-- The rest of what pg_dump sees, as inventory.sql has it: the kinds that most databases have few of.
-- Options of user mappings and connection strings of subscriptions are left out: they hold passwords.
WITH space AS MATERIALIZED (
    SELECT oid, nspname
      FROM pg_namespace
     WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'pgstack')
), note AS MATERIALIZED (
    SELECT classoid AS class, objoid AS object, string_agg(line, E'\n' ORDER BY line) AS lines
      FROM (SELECT classoid, objoid, 'comment: ' || replace(description, E'\n', E'\n  ') AS line
              FROM pg_description WHERE objoid >= 16384 AND objsubid = 0
            UNION ALL
            SELECT classoid, objoid, format('label of %s: %s', provider, label) FROM pg_seclabel WHERE objsubid = 0) AS one
     GROUP BY 1, 2
), found AS (
    SELECT 'operator' AS kind, 'pg_operator'::regclass AS class, o.oid, oprowner AS owner, NULL::aclitem[] AS acl,
           format('%I.%s(%s,%s)', nspname, oprname, coalesce(format_type(nullif(oprleft, 0), NULL), 'NONE'),
                  format_type(oprright, NULL)) AS identity,
           'definition: ' || concat_ws(' ', oprcode, oprcanmerge, oprcanhash, oprcom::regoperator, oprnegate::regoperator,
                                       oprrest, oprjoin) AS definition
      FROM pg_operator o JOIN space s ON s.oid = oprnamespace WHERE oprcode <> 0
    UNION ALL
    SELECT 'operator class', 'pg_opclass'::regclass, c.oid, opcowner, NULL,
           format('%I.%I using %I', nspname, opcname, amname),
           concat_ws(E'\n', format('family: %s.%I', opfnamespace::regnamespace, opfname),
                     'type: ' || format_type(opcintype, NULL), 'storage: ' || format_type(nullif(opckeytype, 0), NULL),
                     CASE WHEN opcdefault THEN 'default: yes' END)
      FROM pg_opclass c JOIN space s ON s.oid = opcnamespace JOIN pg_am a ON a.oid = opcmethod
      JOIN pg_opfamily f ON f.oid = opcfamily
    UNION ALL
    SELECT 'operator family', 'pg_opfamily'::regclass, f.oid, opfowner, NULL, format('%I.%I using %I', nspname, opfname, amname),
           concat_ws(E'\n',
               (SELECT string_agg(format('operator: %s %s %s%s', amopstrategy, amopopr::regoperator, amoppurpose,
                                         ' ' || (SELECT format('%s.%I', opfnamespace::regnamespace, opfname)
                                                   FROM pg_opfamily WHERE oid = amopsortfamily)), E'\n'
                                  ORDER BY amopstrategy, amopopr::regoperator::text) FROM pg_amop WHERE amopfamily = f.oid),
               (SELECT string_agg(format('function: %s %s for %s, %s', amprocnum, amproc::regprocedure,
                                         amproclefttype::regtype, amprocrighttype::regtype), E'\n'
                                  ORDER BY amprocnum, amproclefttype::regtype::text, amprocrighttype::regtype::text)
                  FROM pg_amproc WHERE amprocfamily = f.oid))
      FROM pg_opfamily f JOIN space s ON s.oid = opfnamespace JOIN pg_am a ON a.oid = opfmethod
    UNION ALL
    SELECT 'cast', 'pg_cast'::regclass, oid, NULL, NULL, format('(%s AS %s)', castsource::regtype, casttarget::regtype),
           'definition: ' || concat_ws(' ', nullif(castfunc, 0)::regprocedure, castcontext, castmethod)
      FROM pg_cast WHERE oid >= 16384
    UNION ALL
    SELECT 'transform', 'pg_transform'::regclass, t.oid, NULL, NULL, format('for %s language %I', trftype::regtype, lanname),
           'definition: ' || concat_ws(' ', nullif(trffromsql::oid, 0)::regprocedure, '/', nullif(trftosql::oid, 0)::regprocedure)
      FROM pg_transform t JOIN pg_language l ON l.oid = trflang
    UNION ALL
    SELECT 'language', 'pg_language'::regclass, oid, lanowner, coalesce(lanacl, acldefault('l', lanowner)), format('%I', lanname),
           'definition: ' || concat_ws(' ', lanpltrusted, lanplcallfoid::regproc, laninline::regproc, lanvalidator::regproc)
      FROM pg_language WHERE lanispl AND oid >= 16384
    UNION ALL
    SELECT 'access method', 'pg_am'::regclass, oid, NULL, NULL, format('%I', amname),
           'definition: ' || concat_ws(' ', amtype, amhandler)
      FROM pg_am WHERE oid >= 16384
    UNION ALL
    SELECT 'collation', 'pg_collation'::regclass, c.oid, collowner, NULL,
           format('%I.%I', nspname, collname) || CASE WHEN collencoding <> -1 THEN ' for encoding ' || collencoding ELSE '' END,
           'definition: ' || concat_ws(' ', collprovider, collisdeterministic, collcollate, collctype,
                                       coalesce(to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale'),
                                       replace(to_jsonb(c) ->> 'collicurules', E'\n', E'\n  '))
      FROM pg_collation c JOIN space s ON s.oid = collnamespace
    UNION ALL
    SELECT 'conversion', 'pg_conversion'::regclass, c.oid, conowner, NULL, format('%I.%I', nspname, conname),
           'definition: ' || concat_ws(' ', pg_encoding_to_char(conforencoding), pg_encoding_to_char(contoencoding), conproc,
                                       condefault)
      FROM pg_conversion c JOIN space s ON s.oid = connamespace
    UNION ALL
    SELECT 'text search parser', 'pg_ts_parser'::regclass, p.oid, NULL, NULL, format('%I.%I', nspname, prsname),
           'definition: ' || concat_ws(' ', prsstart, prstoken, prsend, prsheadline, prslextype)
      FROM pg_ts_parser p JOIN space s ON s.oid = prsnamespace
    UNION ALL
    SELECT 'text search template', 'pg_ts_template'::regclass, t.oid, NULL, NULL, format('%I.%I', nspname, tmplname),
           'definition: ' || concat_ws(' ', tmplinit, tmpllexize)
      FROM pg_ts_template t JOIN space s ON s.oid = tmplnamespace
    UNION ALL
    SELECT 'text search dictionary', 'pg_ts_dict'::regclass, d.oid, dictowner, NULL, format('%I.%I', nspname, dictname),
           concat_ws(E'\n', format('template: %s.%I', tmplnamespace::regnamespace, tmplname),
                     'options: ' || replace(dictinitoption, E'\n', E'\n  '))
      FROM pg_ts_dict d JOIN space s ON s.oid = dictnamespace JOIN pg_ts_template t ON t.oid = dicttemplate
    UNION ALL
    SELECT 'text search configuration', 'pg_ts_config'::regclass, c.oid, cfgowner, NULL, format('%I.%I', nspname, cfgname),
           concat_ws(E'\n', 'parser: ' || (SELECT format('%s.%I', prsnamespace::regnamespace, prsname)
                                             FROM pg_ts_parser p WHERE p.oid = cfgparser),
                     (SELECT string_agg(format('mapping %s: %s', alias, dictionaries), E'\n' ORDER BY alias)
                        FROM (SELECT alias, string_agg(mapdict::regdictionary::text, ', ' ORDER BY mapseqno) AS dictionaries
                                FROM pg_ts_config_map JOIN ts_token_type(cfgparser) ON tokid = maptokentype
                               WHERE mapcfg = c.oid GROUP BY alias) AS mapping))
      FROM pg_ts_config c JOIN space s ON s.oid = cfgnamespace
    UNION ALL
    SELECT 'statistics', 'pg_statistic_ext'::regclass, e.oid, stxowner, NULL, format('%I.%I', nspname, stxname),
           concat_ws(E'\n', 'definition: ' || pg_get_statisticsobjdef(e.oid), 'target: ' || nullif(stxstattarget, -1))
      FROM pg_statistic_ext e JOIN space s ON s.oid = stxnamespace
    UNION ALL
    SELECT 'event trigger', 'pg_event_trigger'::regclass, oid, evtowner, NULL, format('%I', evtname),
           concat_ws(E'\n', 'on: ' || evtevent, 'tags: ' || array_to_string(evttags, ', '), 'function: ' || evtfoid::regproc,
                     'fires: ' || CASE evtenabled WHEN 'D' THEN 'never' WHEN 'R' THEN 'on replicas' WHEN 'A' THEN 'always' END)
      FROM pg_event_trigger
    UNION ALL
    SELECT 'foreign data wrapper', 'pg_foreign_data_wrapper'::regclass, oid, fdwowner,
           coalesce(fdwacl, acldefault('F', fdwowner)), format('%I', fdwname),
           concat_ws(E'\n', 'handler: ' || nullif(fdwhandler, 0)::regproc, 'validator: ' || nullif(fdwvalidator, 0)::regproc,
                     'options: ' || (SELECT string_agg(one, ', ' ORDER BY one) FROM unnest(fdwoptions) AS one))
      FROM pg_foreign_data_wrapper
    UNION ALL
    SELECT 'server', 'pg_foreign_server'::regclass, s.oid, srvowner, coalesce(srvacl, acldefault('S', srvowner)),
           format('%I', srvname),
           concat_ws(E'\n', format('wrapper: %I', fdwname), 'type: ' || nullif(srvtype, ''), 'version: ' || nullif(srvversion, ''),
                     'options: ' || (SELECT string_agg(one, ', ' ORDER BY one) FROM unnest(srvoptions) AS one))
      FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = srvfdw
    UNION ALL
    SELECT 'user mapping', 'pg_user_mapping'::regclass, umid, NULL, NULL, format('for %I server %I', usename, srvname), 'there: yes'
      FROM pg_user_mappings
    UNION ALL
    SELECT 'publication', 'pg_publication'::regclass, p.oid, pubowner, NULL, format('%I', pubname),
           concat_ws(E'\n', 'publishes: ' || concat_ws(', ', CASE WHEN pubinsert THEN 'insert' END,
                         CASE WHEN pubupdate THEN 'update' END, CASE WHEN pubdelete THEN 'delete' END,
                         CASE WHEN pubtruncate THEN 'truncate' END),
                     CASE WHEN puballtables THEN 'all tables: yes' END, CASE WHEN pubviaroot THEN 'via root: yes' END,
                     'generated columns: ' || nullif(to_jsonb(p) ->> 'pubgencols', 'n'),
                     (SELECT string_agg('schema: ' || pnnspid::regnamespace, E'\n' ORDER BY pnnspid::regnamespace::text)
                        FROM pg_publication_namespace WHERE pnpubid = p.oid),
                     (SELECT string_agg(concat_ws(' ', 'table: ' || prrelid::regclass,
                                            '(' || (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attname)
                                                      FROM pg_attribute WHERE attrelid = prrelid AND attnum = ANY (prattrs)) || ')',
                                            'where ' || replace(pg_get_expr(prqual, prrelid), E'\n', E'\n  ')), E'\n'
                                        ORDER BY prrelid::regclass::text)
                        FROM pg_publication_rel WHERE prpubid = p.oid))
      FROM pg_publication p
    UNION ALL
    SELECT 'subscription', 'pg_subscription'::regclass, b.oid, subowner, NULL, format('%I', subname),
           concat_ws(E'\n', 'publications: ' || array_to_string(subpublications, ', '), 'slot: ' || subslotname,
                     'options: ' || concat_ws(' ', subbinary, substream, replace(subtwophasestate, 'e', 'p'), subdisableonerr, subsynccommit),
                     -- a column that this version doesn't have is found in `older`
                     (SELECT nullif(concat_ws(E'\n', 'origin: ' || nullif(suborigin, 'any'),
                                       CASE WHEN subrunasowner THEN 'runs as owner: yes' END,
                                       CASE WHEN NOT subpasswordrequired THEN 'password required: no' END,
                                       CASE WHEN subfailover THEN 'failover: yes' END), '')
                        FROM pg_subscription s WHERE s.oid = b.oid))
      FROM pg_subscription b, (SELECT 'any' AS suborigin, false AS subrunasowner, true AS subpasswordrequired,
                                      false AS subfailover) AS older
     WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL
    SELECT 'default rights', 'pg_default_acl'::regclass, oid, NULL, NULL,
           concat_ws(' ', 'of', quote_ident(pg_get_userbyid(defaclrole)), 'on',
                     CASE defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions'
                                        WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE defaclobjtype::text END,
                     'in ' || nullif(defaclnamespace, 0)::regnamespace),
           (SELECT string_agg('right: ' || one::text, E'\n' ORDER BY one::text COLLATE "C") FROM unnest(defaclacl) AS one)
      FROM pg_default_acl
), rights AS (  -- given on what an extension or PostgreSQL made
    SELECT class, object, part, acl, coalesce(i.initprivs, acldefault(type, owner)) AS before
      FROM (SELECT 'pg_class'::regclass AS class, oid AS object, 0 AS part, relacl AS acl, relowner AS owner,
                   CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char" AS type, relnamespace AS space
              FROM pg_class WHERE relacl IS NOT NULL
            UNION ALL
            SELECT 'pg_class'::regclass, attrelid, attnum, attacl, relowner, 'c', relnamespace
              FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE attacl IS NOT NULL
            UNION ALL
            SELECT 'pg_proc'::regclass, oid, 0, proacl, proowner, 'f', pronamespace FROM pg_proc
             WHERE proacl IS NOT NULL  -- functions_closed.sql takes EXECUTE from PUBLIC
               AND NOT (pronamespace = 'pg_catalog'::regnamespace
                        AND (proname ~ '^pg_(try_)?advisory_(xact_)?lock'
                             OR proname IN ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_put', 'lo_truncate',
                                            'lo_truncate64', 'lo_unlink', 'lowrite')))
            UNION ALL
            SELECT 'pg_type'::regclass, oid, 0, typacl, typowner, 'T', typnamespace FROM pg_type WHERE typacl IS NOT NULL
            UNION ALL
            SELECT 'pg_namespace'::regclass, oid, 0, nspacl, nspowner, 'n', oid FROM pg_namespace WHERE nspacl IS NOT NULL
            UNION ALL
            SELECT 'pg_language'::regclass, oid, 0, lanacl, lanowner, 'l', 0 FROM pg_language WHERE lanacl IS NOT NULL
            UNION ALL
            SELECT 'pg_foreign_data_wrapper'::regclass, oid, 0, fdwacl, fdwowner, 'F', 0 FROM pg_foreign_data_wrapper
             WHERE fdwacl IS NOT NULL
            UNION ALL
            SELECT 'pg_foreign_server'::regclass, oid, 0, srvacl, srvowner, 'S', 0 FROM pg_foreign_server
             WHERE srvacl IS NOT NULL) AS given
      LEFT JOIN pg_init_privs i ON i.classoid = class AND i.objoid = object AND i.objsubid = part
     WHERE (object < 16384 AND space = 'pg_catalog'::regnamespace)
        OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = class AND d.objid = object AND d.objsubid = 0 AND d.deptype = 'e')
)
SELECT f.kind, f.identity,
       concat_ws(E'\n', 'owner: ' || pg_get_userbyid(f.owner),
           (SELECT string_agg('right: ' || one::text, E'\n' ORDER BY one::text COLLATE "C") FROM unnest(f.acl) AS one),
           f.definition, n.lines) AS definition,
       -- LIKE … INCLUDING ALL gives a partition its parent's statistics
       f.kind = 'statistics' AND EXISTS (
           SELECT FROM pg_statistic_ext own JOIN pg_class c ON c.oid = own.stxrelid AND c.relispartition
             JOIN pg_inherits ON inhrelid = c.oid JOIN pg_statistic_ext up ON up.stxrelid = inhparent
             LEFT JOIN note above ON above.class = f.class AND above.object = up.oid
            WHERE own.oid = f.oid AND up.stxowner = own.stxowner AND up.stxkind = own.stxkind
              AND pg_get_statisticsobjdef_columns(up.oid) = pg_get_statisticsobjdef_columns(own.oid)
              AND coalesce(own.stxstattarget, -1) IN (-1, up.stxstattarget)
              AND (n.lines IS NULL OR n.lines = above.lines)) AS follows
  FROM found f LEFT JOIN note n ON n.class = f.class AND n.object = f.oid
 WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = f.class AND d.objid = f.oid AND d.deptype = 'e')
UNION ALL
SELECT 'rights', format('on %s %s', o.type, o.identity),
       coalesce((SELECT string_agg('right: ' || one::text, E'\n' ORDER BY one::text COLLATE "C") FROM unnest(acl) AS one), ''),
       false
  FROM rights r, pg_identify_object(r.class, r.object, r.part) AS o
 WHERE NOT (r.acl @> r.before AND r.acl <@ r.before)
