"""What reports share: tables, and TensorBoard event files."""
