"""Standard MIDI Files: read by music21 or symusic, made notes by rules, written."""
