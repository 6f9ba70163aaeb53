"""Keeps pictures and results of a run as films, in a ring of bounded size."""
