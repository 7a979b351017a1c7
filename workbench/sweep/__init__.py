"""Sweeps: a grid of runs in a study folder, dispatched to processes of this machine or of a cluster."""
