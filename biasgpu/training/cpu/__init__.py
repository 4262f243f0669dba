"""Training, compiled: a network in every SIMD lane, from its initialisation to its last epoch."""
