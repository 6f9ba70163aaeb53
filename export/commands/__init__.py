"""One module a command of ``edge-export``; each is imported only when it is called."""
