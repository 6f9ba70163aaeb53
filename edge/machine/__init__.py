"""What this machine can do: ``edge doctor`` and ``edge bench``."""
