"""What is declared to Pulumi: one file per component or dynamic resource."""
