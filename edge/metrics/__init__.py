"""What a run measures: the account of every frame, its times, and their report."""
