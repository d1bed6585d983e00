"""Brings a database up to the listed scripts: `scripts` reads and plans, `execution` runs, `apply` calls both."""
