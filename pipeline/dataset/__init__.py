"""The data set on disk, and the tf.data pipeline that makes batches of it."""
