-- The format of the definitions in pgstack.object: 1 where rows are there and none says it, NULL where there is no row.
SELECT coalesce((SELECT definition::int FROM pgstack.object WHERE kind = 'format' AND identity = 'record'),
                (SELECT 1 FROM pgstack.object LIMIT 1)) AS format
