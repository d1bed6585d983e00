-- Whether a DO or a CALL commits: it says so itself, or a procedure that it names does, or one that this names, and so on.
WITH RECURSIVE said (code) AS (
    SELECT %(text)s::pg_catalog.text COLLATE pg_catalog."C"
    UNION
    SELECT p.prosrc
      FROM said
      JOIN pg_catalog.pg_proc p
        ON p.prokind OPERATOR(pg_catalog.=) 'p'
       AND CASE WHEN p.proname::pg_catalog.text OPERATOR(pg_catalog.~) E'^\\w+$'
                THEN pg_catalog.lower(p.proname::pg_catalog.text) OPERATOR(pg_catalog.=) ANY (pg_catalog.string_to_array(
                     pg_catalog.lower(pg_catalog.regexp_replace(said.code, E'\\W+', ' ', 'g')), ' '))
                ELSE pg_catalog.strpos(said.code, p.proname::pg_catalog.text) OPERATOR(pg_catalog.>) 0 END
)
SELECT EXISTS (SELECT FROM said WHERE said.code OPERATOR(pg_catalog.~*) %(commits)s::pg_catalog.text)
