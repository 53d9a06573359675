"""Networks that describe patches, how they are trained, and the baselines they are held against."""
