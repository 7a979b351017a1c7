"""What learning costs: formula beside measurement."""
