"""Data sets: reading events, binning them, the cache of binned events, downloads, and the catalogue of them
all.
"""
