"""The metrics, as pure functions of labels and probabilities."""
