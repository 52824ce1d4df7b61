"""From notes to token ids and back: events, grids of frames, conditions."""
