"""Measurements of generated video, a file each; `moc.metrics.metric.Metric` says what each number means."""
