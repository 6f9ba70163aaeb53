"""One run: its threads, its ledger, its metrics and how it ends."""
