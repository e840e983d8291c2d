"""A deployment of one developer, as processes of this machine: what `./stack dev` runs."""
