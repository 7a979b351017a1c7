"""Backbones: networks made of synapses, cells and a readout."""
