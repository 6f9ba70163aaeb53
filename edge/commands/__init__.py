"""One module a command of ``edge``; each is imported only when it is called."""
