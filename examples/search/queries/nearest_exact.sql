-- What nearest.sql answers, by comparing every vector of the tenant: run with enable_indexscan = off.
SELECT c.chunk_id, d.title, c.content, e.embedding <=> %(vector)s AS distance
  FROM app.embedding e
  JOIN app.chunk c ON c.chunk_id = e.chunk_id
  JOIN app.document d ON d.document_id = c.document_id
 WHERE e.model = %(model)s AND d.tenant_id = %(tenant)s
 ORDER BY e.embedding <=> %(vector)s
 LIMIT %(limit)s
