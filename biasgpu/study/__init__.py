"""Studies: guess and check beside an optimiser, over widths or depths, and what that says."""
