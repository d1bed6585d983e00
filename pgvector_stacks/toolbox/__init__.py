"""Runs PostgreSQL's programs beside a server, and moves files. Backup and upgrade use it; it knows neither."""
