"""Playing while composing: clock, keys, MIDI ports, answers to what is played."""
