"""Types, settings, randomness and the run folder: what every other layer stands on. Light: no torch, no pandas."""
