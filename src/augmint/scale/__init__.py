"""Doing one thing many times, on many processes."""
