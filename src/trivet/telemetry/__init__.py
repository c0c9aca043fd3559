"""What a process says about itself: metrics, structured lines, traces."""
