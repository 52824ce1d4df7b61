"""From a score file to notes: the formats, and the rules by which they become notes."""
