"""Networks that describe patches, their training, and the baselines to compare them with."""
