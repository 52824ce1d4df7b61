"""What a run folder holds: its layout, its writer and its reader."""
