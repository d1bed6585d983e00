INSERT INTO pgstack.event (kind, script, line, sqlstate, message, revision, by_whom)
VALUES (%(kind)s, %(script)s, %(line)s, %(sqlstate)s, %(message)s, %(revision)s, %(by_whom)s)
