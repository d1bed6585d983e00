"""SQL text as PostgreSQL reads it: tokens, statements, places, and what psql would read otherwise."""
