-- SQL Script to install pgvector extension
-- (the administrator made it already, since vector is not a trusted extension: here it passes as a notice)
CREATE EXTENSION IF NOT EXISTS vector;

-- Verify installation with a simple test
DO $$
BEGIN
    -- Create a test table
    CREATE TABLE IF NOT EXISTS vector_test (
        id SERIAL PRIMARY KEY,
        embedding vector(3)
    );

    -- Insert a test vector
    INSERT INTO vector_test (embedding) VALUES ('[1,2,3]');

    -- Clean up
    DROP TABLE vector_test;

    RAISE NOTICE 'pgvector extension successfully installed and tested';
EXCEPTION WHEN OTHERS THEN
    RAISE EXCEPTION 'Error testing pgvector extension: %', SQLERRM;
END$$;

-- One embedding a chunk and model. 384 dimensions: all-MiniLM-L6-v2 and its like; another size is another table.
CREATE TABLE app.embedding (
    chunk_id  bigint NOT NULL REFERENCES app.chunk ON DELETE CASCADE,
    model     text NOT NULL,
    embedding vector(384) NOT NULL,
    PRIMARY KEY (chunk_id, model)
);
COMMENT ON TABLE app.embedding IS 'The vectors that are searched by cosine distance (<=>).';

-- m and ef_construction are pgvector's defaults, written out because changing them means building the index again.
CREATE INDEX embedding_hnsw ON app.embedding
    USING hnsw (embedding vector_cosine_ops) WITH (m = 16, ef_construction = 64);
