-- What an `up` locks, in the database postgres. Nobody else has a right on it, so nobody else can take its place.
CREATE SCHEMA IF NOT EXISTS pgstack;
CREATE TABLE IF NOT EXISTS pgstack.up ();
COMMENT ON TABLE pgstack.up IS 'Has no rows. Whoever holds its lock works on this server: one `up` at a time.';
REVOKE ALL ON SCHEMA pgstack FROM PUBLIC;
REVOKE ALL ON pgstack.up FROM PUBLIC
