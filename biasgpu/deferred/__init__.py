"""Method "deferred": Gaussian layers are drawn only as far as inputs ask for them."""
