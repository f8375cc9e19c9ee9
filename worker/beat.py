"""Beat's scheduler, which publishes ticks through pooled producers that survive reconnections."""

import celery.beat


class TickScheduler(celery.beat.Scheduler):
    """Celery's scheduler without its schedule file and without its single producer.

    After RabbitMQ closes that producer's connection, the producer never gets another channel, and
    every tick fails until beat restarts (celery 5.7.0 with py-amqp; found by a fault run). A pooled
    producer gets a live channel each time. The file would store when each entry last ran, which is
    useless for ticks every few seconds.
    """

    producer = None  # type: ignore[assignment]

    def setup_schedule(self) -> None:
        """Send no events of what beat sends: Flower would list it, and little else."""
        self.app.conf.task_send_sent_event = False
        super().setup_schedule()
