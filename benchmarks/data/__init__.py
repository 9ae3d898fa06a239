"""Data sets of the suites, and catalogues grown from them."""
