"""Shared machinery of learners: losses, eligibility traces, learning signals."""
