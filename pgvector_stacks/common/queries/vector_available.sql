-- pgvector's version as the server has it and as this database has it installed (NULL: not).
SELECT default_version, installed_version FROM pg_available_extensions WHERE name = 'vector'
