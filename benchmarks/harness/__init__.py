"""How cells run, what is kept of them, and when they are out of date."""
