"""When: the beat schedule as data, claiming what is due, limits, fairness and learned durations."""
