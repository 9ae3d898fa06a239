"""The offline half: interactions and item texts in, one artefact folder out."""
