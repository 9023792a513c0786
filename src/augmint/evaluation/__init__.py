"""Measuring and proving: features, metrics, the copy check, and the experiment of lift."""
