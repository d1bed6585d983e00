"""The embedded server: a PostgreSQL from a Python wheel, on this machine."""
