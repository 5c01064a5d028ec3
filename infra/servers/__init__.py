"""MongoDB, NATS and Redis as child processes or containers: what the laptop, the tests and the bench start."""
