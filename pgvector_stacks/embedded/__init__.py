"""The embedded server: PostgreSQL from a wheel, on this machine."""
