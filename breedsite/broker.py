"""What a broker that cannot be used raises. Kombu wraps what its transports raise while they connect, but not all of
it: a refused login of RabbitMQ comes as its own error, and so does a Redis that has no room."""

from amqp.exceptions import AMQPError
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

BROKER_ERRORS = (AMQPError, KombuError, RedisError, OSError)
