"""Speed of homoreg, of the original study's code and of the bare network: ``make bench``."""
