"""Runs PostgreSQL's programs beside a server, and moves files. Backup and upgrade import it; it imports neither."""
