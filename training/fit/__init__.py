"""How a recipe learns: features, augmentation, fine-tuning, linear heads."""
