"""The network over frames of several voices."""
