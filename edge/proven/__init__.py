"""Proofs that a run asks for before it trusts a model, made in a process of their own and kept."""
