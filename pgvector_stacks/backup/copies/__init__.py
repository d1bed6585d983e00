"""Encrypted copies of backups on another host."""
