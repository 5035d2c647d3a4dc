"""The configuration of a spoolhouse that runs on the local stack."""

import json


def toml(sections):
    """{section: {key: value}}; JSON's strings and numbers are TOML's, too."""
    return "\n".join(
        f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        for section, keys in sections.items()
    )


def sections(spool, kafka_port, upload_port, metrics_port, **kafka):
    """All parts on 127.0.0.1; `kafka` are more keys of that section."""
    return {
        "kafka": {"brokers": f"127.0.0.1:{kafka_port}"} | kafka,
        "spool": {"dir": str(spool)},
        "upload": {"url": f"http://127.0.0.1:{upload_port}"},
        "observe": {"listen": f"127.0.0.1:{metrics_port}"},
    }
