"""Beat's scheduler: every tick goes out by a pooled producer, which survives its connection."""

import celery.beat


class TickScheduler(celery.beat.Scheduler):
    """Celery's own scheduler without its file, and without the one producer that it keeps.

    Once RabbitMQ has closed that producer's connection it has no channel, and never gets another:
    every tick fails until beat is started again (celery 5.7.0, py-amqp; seen in a fault run). A
    producer of the pool is given a live channel each time. The file would say when each entry last
    ran, which nobody asks of ticks that come every few seconds.
    """

    producer = None  # type: ignore[assignment]
