"""Networks that an optimiser trains: from a named initialisation to zero training error."""
