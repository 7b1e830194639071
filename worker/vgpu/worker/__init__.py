"""The worker: owns the GPU, admits clients, and runs an executor for each."""
