"""Compiled training of one network at a time, with positions of its images in the SIMD lanes."""
