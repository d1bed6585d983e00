"""Scheduled backups: a container beside the server's that creates one per day."""
