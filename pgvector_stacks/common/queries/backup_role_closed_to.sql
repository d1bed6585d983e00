-- The databases that a backup takes (backup_cluster.sql) and the role may not enter.
SELECT datname FROM pg_database
 WHERE datallowconn AND NOT datistemplate AND datname !~ '^pgstack_(restoring|before)_'
   AND NOT has_database_privilege(%(role)s, oid, 'CONNECT')
 ORDER BY 1
