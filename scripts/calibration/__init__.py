"""What `scripts/calibrate_statistics` puts the statistics to: series whose truth is known, real runs, a bare loop."""
