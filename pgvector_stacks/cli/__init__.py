"""The command line `pgstack`: a command a file. `app` lists them."""
