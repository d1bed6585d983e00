-- A tenant's passages nearest to a vector by cosine distance (0: same direction, 1: unrelated), nearest first.
-- ORDER BY the bare distance with a LIMIT is what lets the HNSW index answer. Tenant and model are asked for row by
-- row, in a subquery and not in a join: right after a load there are no statistics (`app` may not ANALYZE), and the
-- planner would rather fetch all rows by another index and sort their distances.
WITH hit AS MATERIALIZED (
    SELECT e.chunk_id, e.embedding <=> %(vector)s AS distance
      FROM app.embedding e
     WHERE (SELECT d.tenant_id = %(tenant)s AND e.model = %(model)s
              FROM app.chunk c JOIN app.document d ON d.document_id = c.document_id
             WHERE c.chunk_id = e.chunk_id)
     ORDER BY e.embedding <=> %(vector)s
     LIMIT %(limit)s
)
SELECT c.chunk_id, d.title, c.content, hit.distance
  FROM hit
  JOIN app.chunk c ON c.chunk_id = hit.chunk_id
  JOIN app.document d ON d.document_id = c.document_id
 ORDER BY hit.distance
