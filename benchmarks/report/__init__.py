"""What was measured, as pages."""
