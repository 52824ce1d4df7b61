"""Standard MIDI Files: read by music21 or symusic, turned into notes, written."""
