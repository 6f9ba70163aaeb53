"""A run as seen in a browser: its picture, its figures, and what may be changed in it."""
