"""A composed piece as files: MIDI, sound, piano roll, MusicXML, print, a page."""
