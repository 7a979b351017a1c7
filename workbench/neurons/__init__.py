"""Cells: the dynamics of spiking and state-space units, one file each."""
