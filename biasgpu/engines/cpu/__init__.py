"""The compiled CPU engine: numba, one candidate in every SIMD lane."""
