"""Devices that hold the weights, and how they may change."""
