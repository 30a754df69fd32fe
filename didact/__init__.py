"""didact: BERT and its family, end to end."""
