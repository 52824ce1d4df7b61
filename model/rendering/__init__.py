"""Composed pieces as files: MIDI, sound, piano roll, MusicXML, printed score, page."""
