"""Learners: one file each, registered by entry points exactly as a third-party package would."""
