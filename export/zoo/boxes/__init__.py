"""The networks that detection is taught with: one object, and a classifier of windows."""
