"""How fast homoreg is, beside the study's way and beside the bare arithmetic: ``make bench``."""
