"""The topic's offsets, seen by a consumer that never joins the group."""

from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition

from stack.parts import TOPIC


@dataclass
class Kafka:
    port: int
    group: str
    partitions: int

    def __post_init__(self):
        self.consumer = Consumer(
            {
                "bootstrap.servers": f"127.0.0.1:{self.port}",
                "group.id": self.group,
                "log_level": 0,
                "enable.auto.commit": False,
            }
        )

    def ends(self):
        return [
            self.consumer.get_watermark_offsets(TopicPartition(TOPIC, n), timeout=5)[1] for n in range(self.partitions)
        ]

    def committed(self):
        """What the group has committed; a partition without a commit counts as 0."""
        wanted = [TopicPartition(TOPIC, n) for n in range(self.partitions)]
        return [max(0, partition.offset) for partition in self.consumer.committed(wanted, timeout=5)]

    def close(self):
        self.consumer.close()
