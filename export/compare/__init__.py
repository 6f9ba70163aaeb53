"""Two models against each other on the same frames."""
