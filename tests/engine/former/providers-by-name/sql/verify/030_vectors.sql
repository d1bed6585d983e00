-- A passage can be stored with its embedding and is found as its own nearest neighbour. All of it is undone.
SET LOCAL search_path = app, public;

-- keys of our own, so that no sequence moves
INSERT INTO tenant (tenant_id, name) OVERRIDING SYSTEM VALUE VALUES (-1, 'verify: ' || gen_random_uuid());
INSERT INTO document (document_id, tenant_id, title) OVERRIDING SYSTEM VALUE VALUES (-1, -1, 'verify');
INSERT INTO chunk (chunk_id, document_id, position, content) OVERRIDING SYSTEM VALUE VALUES (-1, -1, 0, 'verify');
INSERT INTO embedding (chunk_id, model, embedding) VALUES (-1, 'verify', array_fill(0.5, ARRAY[384])::vector);

SELECT 'the stored vector is not found at distance 0' AS problem
 WHERE NOT EXISTS (
    SELECT FROM embedding
     WHERE model = 'verify' AND embedding <=> array_fill(0.5, ARRAY[384])::vector < 1e-6
 );
