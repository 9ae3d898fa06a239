"""Stage one: queries in, merged candidates with their features out."""
