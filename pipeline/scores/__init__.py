"""Score files and notes: what is read from MIDI, MusicXML, kern and ABC, and what is written."""
