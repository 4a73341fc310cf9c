"""How predictions are measured: out-of-fold predictions, calibration, metrics with intervals."""
