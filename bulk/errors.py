"""What can go wrong with a large run, said so that its owner knows what to do."""

from model.errors import CalcinosisError


class BulkError(CalcinosisError):
    """A run that cannot begin or go on."""
