"""From a trained GAN to samples that may be used: draw, calibrate, curate."""
