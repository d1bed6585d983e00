"""`python -m pgstack`: the same command line."""

from pgstack.cli import main

main()
