"""A stand-in for the Pulumi plugin of pulumi-docker 5.2, for machines where the real one can neither be found nor got.

It answers what the real one answered in `recordings/`, for the four resources and the fields the product declares:
`schema` says what they are, `inputs` and `changes` decide (Check and Diff, without I/O), `resource_*` do it on a Docker
Engine, `server` speaks to Pulumi, and `install` decides which plugin a test gets: the real one always wins.
"""
