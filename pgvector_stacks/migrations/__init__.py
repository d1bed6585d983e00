"""Brings a database to the listed scripts: `scripts` reads and plans, `execution` runs, `apply` is the way through."""
