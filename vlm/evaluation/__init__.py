"""Scores on generated images with exact truth: what the model can do, and how that is known."""
