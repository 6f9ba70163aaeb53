"""Pictures to a server of the user's own, that gives them on to who looks."""
