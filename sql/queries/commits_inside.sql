-- Whether a DO or a CALL commits: it says so itself, or a procedure that it names does.
SELECT %(text)s::pg_catalog.text OPERATOR(pg_catalog.~*) %(commits)s::pg_catalog.text
    OR EXISTS (SELECT FROM pg_catalog.pg_proc
                WHERE prokind OPERATOR(pg_catalog.=) 'p'
                  AND prosrc OPERATOR(pg_catalog.~*) %(commits)s::pg_catalog.text
                  AND pg_catalog.strpos(pg_catalog.lower(%(text)s), pg_catalog.lower(proname)) OPERATOR(pg_catalog.>) 0)
