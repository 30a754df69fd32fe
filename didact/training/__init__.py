"""Training: one step, the loop around it, what survives a kill. Imports nothing: `environment` comes before torch."""
