"""How long a picture takes from a screen through a camera to the app."""
