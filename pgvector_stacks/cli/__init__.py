"""The command line `pgstack`, with one file per command. `app` lists the commands."""
