"""Networks that describe patches, how they are trained, and the peers they are held against."""
