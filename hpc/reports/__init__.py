"""What reports share: medians with quartiles, and TensorBoard event files."""
