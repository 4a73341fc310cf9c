"""What is wrong with a data set, found before a model learns it."""

from calcinosis.data.audit.report import KINDS, Audit, audit, read_pairs

__all__ = ["KINDS", "Audit", "audit", "read_pairs"]
