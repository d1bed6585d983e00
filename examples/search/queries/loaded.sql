-- How many vectors of one model there are of the tenant's documents that carry a corpus hash.
SELECT count(*)
  FROM app.tenant t
  JOIN app.document d ON d.tenant_id = t.tenant_id
  JOIN app.chunk c ON c.document_id = d.document_id
  JOIN app.embedding e ON e.chunk_id = c.chunk_id AND e.model = %(model)s
 WHERE t.name = %(tenant)s AND d.metadata ->> 'corpus' = %(corpus)s
