"""Token ids to music: the LSTM, its checkpoints, sampling, sound and pictures, on one machine."""
