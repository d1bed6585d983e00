"""The small command line beside `pulumi`."""
