"""The street network, as it is trained and exported."""
