"""Reads SQL text as PostgreSQL does: tokens, statements, positions, and the parts that only psql understands."""
