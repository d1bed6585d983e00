-- The recorded schema, but for the option pg_attver of columns, which earlier versions recorded: see inventory.sql. It
-- is always the last option.
SELECT kind, identity,
       CASE WHEN kind = 'column' THEN ltrim(regexp_replace(definition,
           '((^|\n)options: [^\n]*), pg_attver=\d+|(^|\n)options: pg_attver=\d+', '\1'), E'\n') ELSE definition END AS definition
  FROM pgstack.object
 WHERE kind <> 'format'
