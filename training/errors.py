"""What can go wrong in a training, said so that the user knows what to do next."""

from model.errors import CalcinosisError


class TrainingError(CalcinosisError):
    """A training that cannot start or go on."""
