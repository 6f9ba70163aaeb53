"""The app as a service: what it tells the system that started it, and where its logs go."""
