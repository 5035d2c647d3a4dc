"""Synthetic traffic made within the engine, for more rows than a producer could send.

Job: a SELECT whose rows are those of http_log, with the distributions of
`spoolhouse produce` (src/traffic, whose
constants these are).
Invariant: a row follows from profile, rate, day and place alone. That its
distinct keys are as many as the producer's is not assumed: agreement() counts both.
"""

from dataclasses import dataclass

DAY_SECONDS = 86_400
RESOURCES, OBJECTS, NETWORKS = 10_000, 2_000, 50_000
RESOURCE_IDS, RESOURCE_IDS_UNIFORM = 10_000_000, 1_000_000_000
STATUSES = (
    (900, 200, 0),
    (35, 304, 0),
    (30, 206, 0),
    (15, 404, 555),
    (8, 301, 169),
    (6, 403, 153),
    (4, 204, 0),
    (2, 502, 157),
)
CACHE_STATES = (
    (820, "HIT"),
    (110, "MISS"),
    (25, "EXPIRED"),
    (20, "REVALIDATED"),
    (15, "BYPASS"),
    (5, "STALE"),
    (5, "UPDATING"),
)
HOURS = (60, 48, 40, 36, 36, 44, 60, 80, 98, 108, 112, 114, 116, 116, 118, 122, 126, 132, 142, 154, 162, 156, 130, 90)
DIRECTORIES = ["images", "images", "images", "video", "video", "static", "static", "download", "api"]
EXTENSIONS = ["jpg", "png", "webp", "mp4", "m3u8", "js", "css", "zip", "json"]
COLUMNS = (
    "timestamp, resource_id, bytes_sent, request_time_milli, response_status, cache_status, method, remote_addr, url"
)


@dataclass(frozen=True)
class EngineTraffic:
    profile: str
    rate: int  # messages per second, on average over a day
    # Of realistic traffic: how many there are, and how unequal (the `rank`-th is
    # drawn in proportion to 1 / rank ** skew). As the producer has them, unless told.
    resources: int = RESOURCES
    networks: int = NETWORKS
    skew: float = 1

    def a_day(self):
        return self.rate * DAY_SECONDS

    def rows(self, midnight, first=0, count=None):
        """A SELECT of the messages from the first-th of the day on."""
        count = self.a_day() - first if count is None else count
        day = midnight // DAY_SECONDS
        make = {"realistic": self._realistic, "uniform": self._uniform}[self.profile]
        return make(
            midnight, f"FROM (SELECT number + {first} AS place, cityHash64({day}, place) AS k FROM numbers({count}))"
        )

    def _realistic(self, midnight, places):
        in_hour = [self.rate * 36 * percent for percent in HOURS]
        begins = [sum(in_hour[:hour]) for hour in range(24)]
        statuses = [(share, status) for share, status, _ in STATUSES]
        pages = {status: size for _, status, size in STATUSES}
        drawn = (
            zipf("resource", self.resources, self.skew),
            zipf("object", OBJECTS),
            zipf("network", self.networks, self.skew),
        )
        return f"""
            WITH {", ".join(drawn)}
            SELECT
                toDateTime({midnight} + 3600 * hour
                    + intDiv((place - {array(begins)}[hour + 1]) * 3600, {array(in_hour)}[hour + 1]), 'UTC')
                    AS timestamp,
                cityHash64('resource', resource) % {RESOURCE_IDS} AS resource_id,
                multiIf(response_status = 200, size, response_status = 206, 1 + cityHash64(k, 'part') % size,
                    transform(response_status, {array(pages)}, {array(pages.values())}, 0)) AS bytes_sent,
                if(cache_status IN ('HIT', 'STALE', 'UPDATING'),
                    intDiv(cityHash64(k, 'a') % 20 * (cityHash64(k, 'b') % 20), 20),
                    20 + intDiv(cityHash64(k, 'a') % 400 * (cityHash64(k, 'b') % 400), 400))
                    + intDiv(bytes_sent, bitShiftLeft(1000::UInt64, cityHash64(k, 'pace') % 7)) AS request_time_milli,
                toUInt16({weighted("cityHash64(k, 'status') % 1000", statuses)}) AS response_status,
                {weighted("cityHash64(k, 'cache') % 1000", CACHE_STATES)} AS cache_status,
                if(cityHash64(k, 'method') % 1000 < 990, 'GET', 'POST') AS method,
                {masked("cityHash64('network', network)")} AS remote_addr,
                {url("leftPad(toString(resource), 4, '0')", "resource, object")} AS url
            FROM (
                SELECT
                    place, k,
                    transform(roundDown(place, {array(begins)}), {array(begins)}, range(24), 0) AS hour,
                    {rank("resource")} AS resource, {rank("object")} AS object, {rank("network")} AS network,
                    bitShiftLeft(1024::UInt64, cityHash64(resource, object, 'power') % 13) AS least,
                    least + cityHash64(resource, object, 'size') % least AS size
                {places})"""

    def _uniform(self, midnight, places):
        statuses = [(1, status) for _, status, _ in STATUSES]
        cache_states = [(1, state) for _, state in CACHE_STATES]
        return f"""
            SELECT
                toDateTime({midnight} + intDiv(place, {self.rate}), 'UTC') AS timestamp,
                cityHash64(k, 'resource') % {RESOURCE_IDS_UNIFORM} AS resource_id,
                cityHash64(k, 'bytes') % 5000000 AS bytes_sent,
                cityHash64(k, 'time') % 60000 AS request_time_milli,
                toUInt16({weighted("cityHash64(k, 'status') % 8", statuses)}) AS response_status,
                {weighted("cityHash64(k, 'cache') % 7", cache_states)} AS cache_status,
                if(cityHash64(k, 'method') % 2 = 0, 'GET', 'POST') AS method,
                {masked("cityHash64(k, 'network')")} AS remote_addr,
                {url("''", "k")} AS url
            {places}"""


def array(values):
    return str(list(values))


def zipf(name, count, skew=1):
    """The `rank`-th of a kind is drawn in proportion to 1 / rank ** skew: where each one's share begins."""
    share = "intDiv(bitShiftLeft(1::UInt64, 40), rank)" if skew == 1 else f"toUInt64(exp2(40) / pow(rank, {skew}))"
    return (
        f"arrayCumSum(arrayMap(rank -> {share}, range(1, {count + 1}))) AS {name}_ends, "
        f"arrayPushFront(arrayPopBack({name}_ends), 0::UInt64) AS {name}_begins"
    )


def rank(name):
    drawn = f"cityHash64(k, '{name}') % {name}_ends[-1]"
    return f"transform(roundDown({drawn}, {name}_begins), {name}_begins, range(length({name}_begins)), 0)"


def weighted(drawn, choices):
    end, branches = 0, []
    for share, value in choices[:-1]:
        end += share
        branches.append(f"{drawn} < {end}, {value!r}")
    return f"multiIf({', '.join(branches)}, {choices[-1][1]!r})"


def masked(drawn):
    return f"replaceRegexpOne(IPv4NumToString(toUInt32(bitShiftLeft({drawn} % 16777216, 8))), '[0-9]+$', 'X')"


def url(resource, thing):
    shape = f"(cityHash64({thing}, 'shape') % 9 + 1)"
    return (
        f"concat('https://r', {resource}, '.cdn.example/', {array(DIRECTORIES)}{'[' + shape + ']'}, '/', "
        f"lower(leftPad(hex(cityHash64({thing}, 'name')), 16, '0')), '.', {array(EXTENSIONS)}{'[' + shape + ']'})"
    )


def produced(file, columns):
    """A SELECT of the rows in the producer's NDJSON, masked; `columns` with their types."""
    return (
        "SELECT * REPLACE (replaceRegexpOne(remote_addr, '[0-9]+$', 'X') AS remote_addr) "
        f"FROM file('{file}', JSONEachRow, '{columns}')"
    )


# Distinct keys per minute, on average: what decides how many rows totals have.
KEYS = {
    "all four": "resource_id, response_status, cache_status, remote_addr",
    "without address": "resource_id, response_status, cache_status",
    "status, cache": "response_status, cache_status",
    "resource": "resource_id",
    "address": "remote_addr",
}


def distinct_keys(rows):
    """A SELECT of one row: distinct keys per minute of each kind, on average."""
    counts = ", ".join(
        f"uniqExact(intDiv(toUInt32(timestamp), 60), {key}) / uniqExact(intDiv(toUInt32(timestamp), 60))"
        for key in KEYS.values()
    )
    return f"SELECT {counts} FROM ({rows})"


def agreement(made, produced):
    """The widest difference of two answers of distinct_keys, as a share."""
    return max(abs(mine / theirs - 1) for mine, theirs in zip(made, produced, strict=True))
