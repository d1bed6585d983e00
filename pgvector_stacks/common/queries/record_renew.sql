-- Records the live schema again but for what is in the temporary table `drifted` (kind, identity), and but for what
-- belongs to a table or view in it that is not recorded: that is part of the same drift.
CREATE TEMPORARY TABLE whole AS
SELECT d.identity FROM drifted d
 WHERE d.kind IN ('table', 'view', 'materialized view', 'foreign table')
   AND NOT EXISTS (SELECT FROM pgstack.object o WHERE (o.kind, o.identity) = (d.kind, d.identity));
DELETE FROM pgstack.object o
 WHERE NOT EXISTS (SELECT FROM drifted d WHERE (d.kind, d.identity) = (o.kind, o.identity));
INSERT INTO pgstack.object (kind, identity, definition)
SELECT i.kind, i.identity, i.definition FROM (/* inventory */) AS i
 WHERE NOT EXISTS (SELECT FROM drifted d WHERE (d.kind, d.identity) = (i.kind, i.identity))
   AND NOT EXISTS (SELECT FROM whole w
                    WHERE w.identity = CASE
                        WHEN i.kind IN ('column', 'column order', 'index', 'constraint', 'trigger', 'rule', 'policy')
                        THEN substring(i.identity FROM '^(?:"(?:[^"]|"")*"|[^."]+)\.(?:"(?:[^"]|"")*"|[^."]+)')
                        WHEN i.kind = 'sequence'
                        THEN substring(i.definition FROM 'owned by: ((?:"(?:[^"]|"")*"|[^."]+)\.(?:"(?:[^"]|"")*"|[^."]+))\.')
                        END);
DROP TABLE pg_temp.whole
