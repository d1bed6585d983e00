-- What a setting would be if no database, no role and no connection set it. Asked by the administrator.
SELECT s.name,
       CASE WHEN s.source NOT IN ('client', 'session', 'interactive', 'database', 'user', 'database user', 'global')
            THEN s.reset_val
            ELSE coalesce((SELECT f.setting FROM pg_file_settings f
                            WHERE f.name = s.name AND f.applied ORDER BY f.seqno DESC LIMIT 1), s.boot_val) END
  FROM pg_settings s WHERE s.name = ANY(%s)
