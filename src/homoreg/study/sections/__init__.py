"""The report's sections, one function each: from what was gathered to a section, or to none."""
