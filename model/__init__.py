"""Reading a photo: the network, its checkpoint, calibrated probabilities and the finding."""
