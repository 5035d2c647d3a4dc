"""What the parts of the local stack are: how each is prepared, started, and known to answer.

Invariant: a part's configuration is rendered from ops/stack.d/ and the
environment each time it starts; nothing is edited in place. Everything a part
writes is below the stack's directory.
"""

import base64
import dataclasses
import os
import re
import shutil
import signal
import socket
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

from stack.clickhouse import ClickHouse
from stack.process import Daemon

ROOT = Path(__file__).resolve().parents[3]
TEMPLATES = ROOT / "ops/stack.d"
TOOLS = ROOT / "target/tools"
TOPIC = "http_log"


class StackError(Exception):
    """Something a person can act on; printed as it is."""


@dataclass(frozen=True)
class Settings:
    dir: Path
    kafka_port: int
    controller_port: int
    partitions: int
    retention_ms: int
    retention_check_ms: int
    proxy_port: int
    proxy_rate: str
    proxy_body: str
    clickhouse_port: int
    clickhouse_users: str  # a file; without one nobody is authenticated
    metrics_port: int  # of the spoolhouse that a trial runs on the stack

    @classmethod
    def from_environment(cls, env=os.environ):
        def number(name, default):
            text = env.get(name) or str(default)
            if not text.isdigit():
                raise StackError(f"{name}={text}: not a whole number")
            return int(text)

        kafka_port = number("KAFKA_PORT", 9092)
        return cls(
            dir=Path(env.get("STACK_DIR") or ROOT / "target/stack").absolute(),
            kafka_port=kafka_port,
            controller_port=number("KAFKA_CONTROLLER_PORT", kafka_port + 1),
            partitions=number("KAFKA_PARTITIONS", 6),
            retention_ms=number("KAFKA_RETENTION_MS", 60_000),
            retention_check_ms=number("KAFKA_RETENTION_CHECK_MS", 300_000),
            proxy_port=number("PROXY_PORT", 8124),
            proxy_rate=env.get("PROXY_RATE") or "1r/m",
            proxy_body=env.get("PROXY_BODY") or "",
            clickhouse_port=number("CLICKHOUSE_PORT", 8123),
            clickhouse_users=env.get("CLICKHOUSE_USERS") or "",
            metrics_port=number("METRICS_PORT", 9464),
        )


def interval(rate):
    """Seconds between the requests that nginx admits at this rate: it keeps whole thousandths."""
    count, unit = rate.split("r/")
    return 1000 / (int(count) * 1000 // {"s": 1, "m": 60}[unit])


SLOT_SECONDS = interval("1r/m")  # 62.5


def listening(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Part:
    """One part of the stack. `config` is None for a part without a configuration file."""

    name = None
    port_setting = None  # of Settings
    config = None
    start_seconds_max = 60

    def __init__(self, settings):
        self.settings = settings
        self.daemon = Daemon(self.name, settings.dir)

    @property
    def port(self):
        return getattr(self.settings, self.port_setting)

    def render(self):
        values = self.values()
        # "@": "$" is nginx's own.
        return re.sub(r"@\{(\w+)\}", lambda name: str(values[name[1]]), (TEMPLATES / self.config).read_text())

    def config_file(self):
        return self.settings.dir / self.config

    def config_changed(self):
        """Whether it runs with a configuration that a start would render otherwise now."""
        return self.config is not None and self.config_file().read_text() != self.render()

    def start(self):
        self.settings.dir.mkdir(parents=True, exist_ok=True)
        if self.config is not None:
            self.config_file().write_text(self.render())
        self.prepare()
        # The engine would take a config.xml of the caller's directory for its own.
        self.daemon.start(self.argv(), cwd=self.settings.dir)

    def prepare(self):
        pass

    def after_start(self):
        """What has to be in it before anyone uses it; harmless when already there."""

    def data(self):
        """Paths that `reset` removes."""
        own = [self.settings.dir / self.name, self.daemon.log_file]
        return own if self.config is None else [*own, self.config_file()]


class Kafka(Part):
    name = "kafka"
    port_setting = "kafka_port"
    config = "kafka.properties"

    def values(self):
        s = self.settings
        return {
            "dir": s.dir,
            "port": s.kafka_port,
            "controller_port": s.controller_port,
            "retention_ms": s.retention_ms,
            "retention_check_ms": s.retention_check_ms,
            "first_check_ms": min(s.retention_check_ms, 30_000),
        }

    def java(self, *arguments):
        log4j = f"-Dlog4j2.configurationFile={TEMPLATES / 'log4j2.properties'}"
        # The wildcard is the JVM's own; no shell sees it.
        return ["java", "-Djava.awt.headless=true", log4j, "-cp", f"{TOOLS / 'kafka'}/*", *arguments]

    def argv(self):
        return self.java("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "kafka.Kafka", str(self.config_file()))

    def prepare(self):
        if (self.settings.dir / "kafka/meta.properties").exists():
            return
        # "k": an id that begins with "-" would be taken for an option.
        cluster = "k" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
        tool = self.java(
            "-XX:TieredStopAtLevel=1",
            "kafka.tools.StorageTool",
            "format",
            "--cluster-id",
            cluster,
            "--config",
            str(self.config_file()),
        )
        done = subprocess.run(tool, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StackError(f"kafka: formatting its storage failed:\n{done.stdout}{done.stderr}")

    def ready(self):
        if not listening(self.port):
            return False
        from confluent_kafka import KafkaException

        try:
            return bool(self.admin().list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    def admin(self):
        from confluent_kafka.admin import AdminClient

        return AdminClient({"bootstrap.servers": f"127.0.0.1:{self.port}", "log_level": 0})

    def after_start(self):
        from confluent_kafka.admin import NewTopic

        admin = self.admin()
        if TOPIC not in admin.list_topics(timeout=10).topics:
            admin.create_topics([NewTopic(TOPIC, self.settings.partitions, 1)])[TOPIC].result(30)


class ClickHouseFront(Part):
    name = "clickhouse"
    port_setting = "clickhouse_port"

    def argv(self):
        data = self.settings.dir / "clickhouse"
        python = str(TOOLS / "venv/bin/python")
        front = str(TEMPLATES / "clickhouse_front.py")
        users = ["--users", self.settings.clickhouse_users] if self.settings.clickhouse_users else []
        return [python, front, "--port", str(self.port), "--data", str(data), *users]

    def ready(self):
        return ClickHouse(self.port).answers()

    def after_start(self):
        ClickHouse(self.port).apply(ROOT / "sql")


class Proxy(Part):
    name = "proxy"
    port_setting = "proxy_port"
    config = "nginx.conf"

    def values(self):
        s = self.settings
        return {
            "dir": s.dir,
            "port": s.proxy_port,
            "clickhouse_port": s.clickhouse_port,
            "rate": s.proxy_rate,
            "body_limit": f"client_max_body_size {s.proxy_body};"
            if s.proxy_body
            else "# client_max_body_size: default",
        }

    def prepare(self):
        (self.settings.dir / "proxy").mkdir(exist_ok=True)

    def argv(self):
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"  # sbin is not on everyone's PATH
        # Workers of a root nginx become another user, who may not enter this directory.
        user = "user root; " if os.geteuid() == 0 else ""
        directives = f"{user}daemon off;"
        return [nginx, "-e", "stderr", "-p", str(self.settings.dir), "-c", str(self.config_file()), "-g", directives]

    def reload(self, rate):
        """Goes over to another rate as an operator would; the limiter keeps its state."""
        self.settings = dataclasses.replace(self.settings, proxy_rate=rate)
        self.config_file().write_text(self.render())
        os.kill(self.daemon.pid(), signal.SIGHUP)

    def ready(self):
        return listening(self.port)  # no request: it would take the slot of the first insert

    def data(self):
        return [*super().data(), self.settings.dir / "proxy.access.log", self.settings.dir / "proxy.nginx.pid"]


PARTS = {part.name: part for part in (Kafka, ClickHouseFront, Proxy)}
