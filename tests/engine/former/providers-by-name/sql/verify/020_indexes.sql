-- Each row is an index that can't be used.
SELECT indexrelid::regclass AS index, 'is invalid: drop it and create it again' AS problem
  FROM pg_index
 WHERE NOT indisvalid;
