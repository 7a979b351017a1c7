"""A workbench for continual and online learning on spiking and state-space networks.

Importing this package is cheap: torch and Avalanche are loaded only by the modules that compute with them.
"""

__version__ = "0.1.0"
