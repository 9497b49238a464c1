"""How the bundled demo checkpoint is made."""
