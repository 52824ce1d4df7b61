"""Humdrum **kern files and the notes that sound in them."""
