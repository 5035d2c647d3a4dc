#!/bin/bash
# Run by ClickHouse's image at the first start of an empty volume. One client for
# all files: the parameters of the first one hold for the rest.
set -euo pipefail
cat /sql/00[0-3]_*.sql | clickhouse-client
