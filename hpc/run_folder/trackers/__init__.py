"""Programs that show the scalars of many runs, beside TensorBoard: one file for each."""
