"""What is written of a run: the report page, the model card, plots."""
