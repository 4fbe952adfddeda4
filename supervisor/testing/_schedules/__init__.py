"""Deterministic schedules of a Trio run: one of them, all of them up to a bound, or drawn ones."""
