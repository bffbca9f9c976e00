"""Toy proofs that the seams carry what is still to come."""
