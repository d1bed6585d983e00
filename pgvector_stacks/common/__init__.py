"""What every other package uses: errors, safe text, catalog queries, shell scripts. It imports no other package."""
