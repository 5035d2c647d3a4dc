//! Realistic traffic: a few resources, objects and networks get most of the
//! requests, nine of ten are answered with 200, an object has the same size each
//! time, and the day has its busy hours.
//!
//! As reproducible as the uniform one: whole numbers only, since logarithms and
//! sines differ between platforms.

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use super::row::{Draw, NETWORK_IDS, Row, SHAPES, Shape};

const RESOURCES: u64 = 10_000;
const OBJECTS_PER_RESOURCE: u64 = 2_000;
const NETWORKS: u64 = 50_000;

/// Resource ids are drawn below this.
const RESOURCE_IDS: u64 = 10_000_000;

/// An object takes from 1 KiB up to 8 MiB, each power of two as often.
const OBJECT_KIB_POWERS: u64 = 13;

/// Statuses: of a thousand answers so many, and the size of a page of our own.
const STATUSES: [(u64, (u16, u64)); 8] = [
    (900, (200, 0)),
    (35, (304, 0)),
    (30, (206, 0)),
    (15, (404, 555)),
    (8, (301, 169)),
    (6, (403, 153)),
    (4, (204, 0)),
    (2, (502, 157)),
];

/// Cache states, of a thousand answers so many.
const CACHE_STATES: [(u64, &str); 7] = [
    (820, "HIT"),
    (110, "MISS"),
    (25, "EXPIRED"),
    (20, "REVALIDATED"),
    (15, "BYPASS"),
    (5, "STALE"),
    (5, "UPDATING"),
];

/// Methods, of a thousand requests so many.
const METHODS: [(u64, &str); 2] = [(990, "GET"), (10, "POST")];

/// How busy each hour of the day is (UTC), in percent of the average hour.
const HOURS: [u64; 24] = [
    60, 48, 40, 36, 36, 44, 60, 80, 98, 108, 112, 114, 116, 116, 118, 122, 126, 132, 142, 154, 162,
    156, 130, 90,
];

const HOUR_MILLI: u128 = 3_600_000;
const DAY_MILLI: u128 = 24 * HOUR_MILLI;

/// The `rank`-th of a kind is drawn in proportion to 1 / `rank` (Zipf's law).
struct Zipf(Vec<u64>);

impl Zipf {
    fn new(count: u64) -> Self {
        let shares = (1..=count).scan(0, |sum, rank| {
            *sum += (1 << 40) / rank;
            Some(*sum)
        });
        Self(shares.collect())
    }

    fn rank(&self, draw: &mut Draw) -> u64 {
        let total = self.0.last().copied().unwrap_or(1);
        let drawn = draw.below(total);
        self.0.partition_point(|sum| *sum <= drawn) as u64
    }
}

static RESOURCE: LazyLock<Zipf> = LazyLock::new(|| Zipf::new(RESOURCES));
static OBJECT: LazyLock<Zipf> = LazyLock::new(|| Zipf::new(OBJECTS_PER_RESOURCE));
static NETWORK: LazyLock<Zipf> = LazyLock::new(|| Zipf::new(NETWORKS));

/// What is served under one URL.
struct Object {
    resource_id: u64,
    bytes: u64,
    url: String,
}

impl Object {
    fn new(seed: u64, resource: u64, object: u64) -> Self {
        let resource_id = Draw::of_catalogue(seed, resource << 32).below(RESOURCE_IDS);
        // Objects count from 1: place 0 of a resource is the resource itself.
        let mut draw = Draw::of_catalogue(seed, (resource << 32) + object + 1);
        let (directory, extension) = draw.one_of(&SHAPES);
        let least = 1024 << draw.below(OBJECT_KIB_POWERS);
        let bytes = least + draw.below(least);
        let name = draw.below(u64::MAX);
        Self {
            resource_id,
            bytes,
            url: format!("https://r{resource:04}.cdn.example/{directory}/{name:016x}.{extension}"),
        }
    }
}

/// The row that `draw` gives, served at `timestamp_milli`.
pub(super) fn row(seed: u64, draw: &mut Draw, timestamp_milli: u64) -> Row {
    let object = Object::new(seed, RESOURCE.rank(draw), OBJECT.rank(draw));
    let network = NETWORK.rank(draw) + 1;
    let network = Draw::of_catalogue(seed, network << 48).below(NETWORK_IDS);
    let host = draw.below(1 << 8);
    let (response_status, page_bytes) = weighted(draw, &STATUSES);
    let cache_status = weighted(draw, &CACHE_STATES);
    let method = weighted(draw, &METHODS);
    let bytes_sent = match response_status {
        200 => object.bytes,
        206 => 1 + draw.below(object.bytes),
        _ => page_bytes,
    };
    // The product of two is small more often than not, as waiting is.
    let wait = match cache_status {
        "HIT" | "STALE" | "UPDATING" => draw.below(20) * draw.below(20) / 20,
        _ => 20 + draw.below(400) * draw.below(400) / 400,
    };
    let bytes_per_milli = 1_000 << draw.below(7);
    Row {
        timestamp_milli,
        resource_id: object.resource_id,
        bytes_sent,
        request_time_milli: wait + bytes_sent / bytes_per_milli,
        response_status,
        cache_status,
        method,
        remote_addr: Ipv4Addr::from_bits((network << 8 | host) as u32),
        url: object.url,
    }
}

fn weighted<T: Copy>(draw: &mut Draw, choices: &[(u64, T)]) -> T {
    let mut drawn = draw.below(choices.iter().map(|(weight, _)| weight).sum());
    for (weight, choice) in choices {
        match drawn.checked_sub(*weight) {
            Some(rest) => drawn = rest,
            None => return *choice,
        }
    }
    choices[0].1
}

/// How these values are distributed.
pub(super) fn shape() -> Shape {
    Shape {
        resources: RESOURCES,
        resource_ids: RESOURCE_IDS,
        objects: Some(OBJECTS_PER_RESOURCE),
        networks: NETWORKS,
        network_ids: NETWORK_IDS,
        skew: 1.0,
        statuses: STATUSES.map(|(weight, _)| weight).to_vec(),
        cache_states: CACHE_STATES.map(|(weight, _)| weight).to_vec(),
        hours: HOURS,
    }
}

/// When the message at `place` is served, in milliseconds since 1970: `rate` a
/// second on average over a day, more in its busy hours.
pub(super) fn time_milli(start_milli: u64, rate: u32, place: u64) -> u64 {
    let midnight = u128::from(start_milli) / DAY_MILLI * DAY_MILLI;
    let before = served(u128::from(start_milli) - midnight, rate);
    let served_by_then = before + u128::from(place);
    let a_day = served(DAY_MILLI, rate);
    let (day, mut rest) = (served_by_then / a_day, served_by_then % a_day);
    let mut time = midnight + day * DAY_MILLI;
    for hour in HOURS {
        let in_hour = of_hour(hour, rate);
        if rest < in_hour {
            time += rest * HOUR_MILLI / in_hour;
            break;
        }
        rest -= in_hour;
        time += HOUR_MILLI;
    }
    // What is served until the start was rounded down.
    u64::try_from(time).unwrap_or(u64::MAX).max(start_milli)
}

/// Messages from midnight until `milli` later.
fn served(milli: u128, rate: u32) -> u128 {
    let whole = (milli / HOUR_MILLI) as usize;
    let hours = HOURS.iter().take(whole).map(|hour| of_hour(*hour, rate));
    let begun = HOURS.get(whole).map_or(0, |hour| of_hour(*hour, rate));
    hours.sum::<u128>() + begun * (milli % HOUR_MILLI) / HOUR_MILLI
}

fn of_hour(percent: u64, rate: u32) -> u128 {
    u128::from(rate) * 3_600 * u128::from(percent) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hours_average_to_the_rate() {
        assert_eq!(HOURS.iter().sum::<u64>(), 24 * 100);
        assert_eq!(served(DAY_MILLI, 7), 7 * 86_400);
    }

    #[test]
    fn times_never_go_back_and_follow_the_hours() {
        // Thirty minutes past three, an hour at 36 percent: 3.6 messages a second.
        let start = 1_767_225_600_000 + 3 * 3_600_000 + 1_800_000;
        assert_eq!(time_milli(start, 10, 0), start);
        assert_eq!(time_milli(start, 10, 36), start + 10_000);
        let a_day = 10 * 86_400;
        assert_eq!(time_milli(start, 10, a_day), start + 86_400_000);
        let times: Vec<u64> = (0..a_day)
            .map(|place| time_milli(start, 10, place))
            .collect();
        assert!(times.is_sorted());
    }

    #[test]
    fn the_first_is_drawn_about_twice_as_often_as_the_second() {
        let zipf = Zipf::new(100);
        let mut counts = [0_u32; 100];
        for place in 0..20_000 {
            counts[zipf.rank(&mut Draw::of_catalogue(1, place)) as usize] += 1;
        }
        let ratio = f64::from(counts[0]) / f64::from(counts[1]);
        assert!((1.8..2.2).contains(&ratio), "{counts:?}");
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
}
