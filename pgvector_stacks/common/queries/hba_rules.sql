-- The lines of pg_hba.conf as the server reads them, those that it can't read too.
SELECT line_number, type, database, user_name, address, netmask, auth_method, error FROM pg_hba_file_rules ORDER BY line_number
