"""What every room uses: errors, safe text, catalog queries, shell scripts. Imports no other room."""
