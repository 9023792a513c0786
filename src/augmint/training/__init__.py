"""Adversarial training: the loop, the losses, what steers them, and exact checkpoints."""
