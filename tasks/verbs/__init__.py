"""The verbs of a job's life: what a pump does with each kind of due rows."""
