"""Live sources that come and go: one supervisor over one connection after another."""
