"""The settings of a run, from a TOML file and the command line."""
