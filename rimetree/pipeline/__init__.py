"""The pipeline of canned chains: solve, fluxscale and apply blocks of a YAML file. `config` says what may be written."""
