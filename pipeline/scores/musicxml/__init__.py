"""MusicXML: read from the file's own elements, counted independently, and written."""
