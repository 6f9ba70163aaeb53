"""Who may see and change what: tokens, certificates, origins, limits."""
