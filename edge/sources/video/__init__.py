"""Files and streams through PyAV."""
