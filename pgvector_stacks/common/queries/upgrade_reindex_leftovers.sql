-- What an ended REINDEX INDEX CONCURRENTLY leaves: the unfinished new index, or the old one that was to go.
SELECT format('%I.%I', n.nspname, i.relname) AS index
  FROM pg_index x
  JOIN pg_class i ON i.oid = x.indexrelid
  JOIN pg_namespace n ON n.oid = i.relnamespace
 WHERE NOT x.indisvalid AND i.relkind = 'i' AND i.relname ~ '_cc(new|old)[0-9]*$' AND n.nspname !~ '^pg_toast'
