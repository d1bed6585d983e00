-- The tenant's chunks in the order they were copied in: identity values rise within one COPY.
SELECT c.chunk_id
  FROM app.chunk c
  JOIN app.document d ON d.document_id = c.document_id
 WHERE d.tenant_id = %(tenant)s
 ORDER BY d.document_id, c.position
