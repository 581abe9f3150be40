"""What made the embedded model: data, encoder stage, reader stage, checkpoint."""
