-- Whether a superuser's table has an index, constraint, default or policy with a function or operator that somebody wrote:
-- the planner computes the constant parts of all of them, for whatever is asked of the table.
SELECT EXISTS (
    SELECT FROM pg_roles r
      JOIN pg_class t ON t.relowner = r.oid
      JOIN pg_depend d ON (d.classid, d.objid) IN (
               SELECT 'pg_class'::regclass::oid, i.indexrelid FROM pg_index i WHERE i.indrelid = t.oid
               UNION ALL SELECT 'pg_constraint'::regclass, c.oid FROM pg_constraint c WHERE c.conrelid = t.oid
               UNION ALL SELECT 'pg_attrdef'::regclass, a.oid FROM pg_attrdef a WHERE a.adrelid = t.oid
               UNION ALL SELECT 'pg_policy'::regclass, p.oid FROM pg_policy p WHERE p.polrelid = t.oid)
     WHERE r.rolsuper AND t.oid = (SELECT indrelid FROM pg_index WHERE indexrelid = %(index)s::oid)
       AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) AND d.refobjid >= 16384
       AND NOT EXISTS (SELECT FROM pg_depend e
                        WHERE (e.classid, e.objid, e.deptype) = (d.refclassid, d.refobjid, 'e'::"char")))
