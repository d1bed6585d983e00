"""What is done to PostgreSQL: pure planning, and thin execution with psycopg. Never imports pulumi."""
