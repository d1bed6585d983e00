-- The server's version, and pgvector's where the image has it.
SELECT split_part(current_setting('server_version'), ' ', 1),
       (SELECT default_version FROM pg_available_extensions WHERE name = 'vector')
