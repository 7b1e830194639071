"""What the tests start and look at: built files, workers, driver libraries, child processes."""
