"""The environments: one `Pulumi.<stack>.yaml` each, and the model they are read into."""
