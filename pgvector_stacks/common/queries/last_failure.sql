-- The newest failure, if nothing was applied since.
SELECT date_trunc('second', at)::text, by_whom, message
  FROM pgstack.event
 WHERE kind = 'failed' AND id > coalesce((SELECT max(id) FROM pgstack.event WHERE kind = 'applied'), 0)
 ORDER BY id DESC
 LIMIT 1
