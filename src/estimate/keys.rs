//! How many rows a day of traffic makes in the log, the totals and each of their
//! projections: the expected number of distinct keys, from the traffic's own
//! distributions. No constant here was fitted to anything.
//!
//! A row of the totals is a key in a minute *and a batch*: a batch spans a slot,
//! which is longer than a minute, so that most minutes are cut in two, and merging
//! adds nothing up. The sums of projections are added up by merging, so for them
//! a minute is whole.

use super::spectrum::Spectrum;
use crate::traffic::Shape;

/// Seconds of a day.
pub(crate) const DAY_S: f64 = 86_400.0;
/// Minutes of a day.
pub(crate) const DAY_MINUTES: f64 = 1_440.0;
const MINUTE_S: f64 = 60.0;

/// Rows of a MergeTree part that are compressed together: `index_granularity`,
/// which `sql/` leaves at its default.
const GRANULE_ROWS: f64 = 8_192.0;

/// A batch's edge is tried at so many places of a minute.
const EDGES: u32 = 24;

/// The traffic's keys, ready to be reckoned with.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    resources: Spectrum,
    networks: Spectrum,
    /// Pairs of status and cache status.
    answers: Spectrum,
    objects: Option<Spectrum>,
    resource_ids: f64,
    network_ids: f64,
    /// By hour, as shares of the average rate.
    hours: [f64; 24],
}

impl Mix {
    pub fn new(shape: &Shape) -> Self {
        let skewed = |count| Spectrum::zipf(count, shape.skew);
        Self {
            resources: skewed(shape.resources),
            networks: skewed(shape.networks),
            answers: Spectrum::weights(&shape.statuses)
                .with(&Spectrum::weights(&shape.cache_states)),
            // Objects keep the producer's skew: only resources and networks can
            // be chosen.
            objects: shape.objects.map(|count| Spectrum::zipf(count, 1.0)),
            resource_ids: shape.resource_ids.max(shape.resources) as f64,
            network_ids: shape.network_ids.max(shape.networks) as f64,
            hours: shape.hours.map(|percent| percent as f64 / 100.0),
        }
    }

    /// The rate of the busiest hour, as a share of the average.
    pub fn peak(&self) -> f64 {
        self.hours.iter().copied().fold(0.0, f64::max)
    }
}

/// What a day makes. Rows and distinct values, as expected numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Day {
    /// Messages, which are the rows of the log.
    pub messages: f64,
    /// Rows of the totals, and of `by_address`.
    pub totals: f64,
    /// What the totals would have if no batch cut a minute.
    pub totals_uncut: f64,
    /// Rows of `without_address`.
    pub without_address: f64,
    /// Rows of `status_and_cache`.
    pub status_and_cache: f64,
    /// Rows of `address_by_day`.
    pub address_by_day: f64,
    /// Rows of `resource_by_day`.
    pub resource_by_day: f64,
    /// Resources that occur.
    pub resources: f64,
    /// Masked addresses that occur.
    pub addresses: f64,
    /// Pairs of resource and address that occur.
    pub pairs: f64,
    /// Different URLs of each [`GRANULE_ROWS`] of the log, together.
    pub urls: f64,
    /// The same of the totals: different objects, whose sizes the sums hold.
    pub objects: f64,
    /// Information of a row, bits.
    pub bits: Bits,
}

/// Information that a row holds where its order does not tell it, bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bits {
    /// Which resource.
    pub resource: f64,
    /// Which address.
    pub address: f64,
    /// Which resource follows, where each is named once and they are in order.
    pub next_resource: f64,
    /// Which address follows, likewise.
    pub next_address: f64,
    /// Which second, in the log: rows lie by resource.
    pub log_second: f64,
    /// Which minute, in the totals: rows lie by resource and address.
    pub pair_minute: f64,
    /// Which minute, in `by_address`.
    pub address_minute: f64,
    /// Which minute, in `without_address`.
    pub resource_minute: f64,
}

/// A day at `rate` messages a second on average, that `instances` of Spoolhouse
/// carry in equal parts, a batch per `slot_s` seconds each.
pub(crate) fn day(mix: &Mix, rate: f64, instances: f64, slot_s: f64) -> Day {
    let pairs = mix.resources.with(&mix.networks);
    let keys = pairs.with(&mix.answers);
    let of_resource = mix.resources.with(&mix.answers);
    let of_address = mix.networks.with(&mix.answers);
    let messages = rate * DAY_S;
    let by_minute = |rows: &dyn Fn(f64) -> f64| -> f64 {
        let of_hour = |share: &f64| rows(rate * share * MINUTE_S) * 60.0;
        mix.hours.iter().map(of_hour).sum()
    };
    let totals = by_minute(&|n| instances * in_batches(&keys, n / instances, slot_s));
    let without_address = by_minute(&|n| of_resource.distinct(n));
    let in_granules = |rows| match &mix.objects {
        Some(objects) => mix.resources.distinct_in_runs(rows, GRANULE_ROWS, objects),
        None => rows,
    };
    let resources = mix.resources.distinct(messages);
    let addresses = mix.networks.distinct(messages);
    Day {
        messages,
        totals,
        totals_uncut: by_minute(&|n| keys.distinct(n)),
        without_address,
        status_and_cache: by_minute(&|n| mix.answers.distinct(n)),
        address_by_day: of_address.distinct(messages),
        resource_by_day: of_resource.distinct(messages),
        resources,
        addresses,
        pairs: pairs.distinct(messages),
        urls: in_granules(messages),
        objects: in_granules(totals),
        bits: Bits {
            resource: mix.resources.bits(),
            address: mix.networks.bits(),
            next_resource: bits_of_next(resources, mix.resource_ids),
            next_address: bits_of_next(addresses, mix.network_ids),
            log_second: mix.resources.bits_of_gaps(messages, DAY_S),
            pair_minute: pairs.bits_of_gaps(totals, DAY_MINUTES),
            address_minute: mix.networks.bits_of_gaps(totals, DAY_MINUTES),
            resource_minute: mix.resources.bits_of_gaps(without_address, DAY_MINUTES),
        },
    }
}

/// The information in which of `ids` possible values comes next, of `count` that are
/// there in order, bits: their distances are exponential.
fn bits_of_next(count: f64, ids: f64) -> f64 {
    (1.0 + std::f64::consts::E * ids / count.max(1.0)).log2()
}

/// Rows that a minute of `messages` makes, if batches of `slot_s` seconds cut it
/// anywhere with equal chances: on average, cut or whole.
fn in_batches(keys: &Spectrum, messages: f64, slot_s: f64) -> f64 {
    let cut = (MINUTE_S / slot_s).min(1.0);
    let part = |edge| 2.0 * keys.distinct(messages * (f64::from(edge) + 0.5) / f64::from(EDGES));
    let in_two: f64 = (0..EDGES).map(part).sum::<f64>() / f64::from(EDGES);
    (1.0 - cut) * keys.distinct(messages) + cut * in_two
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Profile;

    fn at(profile: Profile, rate: f64, instances: f64) -> Day {
        day(&Mix::new(&profile.shape()), rate, instances, 62.5)
    }

    /// Counted in the tables of `sql/`, filled by `ops/bench estimate` with a day of
    /// 50 realistic messages a second.
    #[test]
    fn rows_are_those_that_were_counted() {
        let day = at(Profile::Realistic, 50.0, 1.0);
        for (expected, counted) in [
            (day.totals, 4_114_063.0),
            (day.without_address, 2_190_346.0),
            (day.status_and_cache, 45_649.0),
            (day.address_by_day, 268_243.0),
            (day.resource_by_day, 120_262.0),
            (day.pairs, 1_913_910.0),
            (day.addresses, 49_925.0),
            (day.resources, 9_997.0),
        ] {
            let off: f64 = expected / counted - 1.0;
            assert!(off.abs() < 0.004, "{expected} {counted}");
        }
    }

    #[test]
    fn where_nothing_repeats_each_message_is_a_row() {
        let day = at(Profile::Uniform, 10.0, 1.0);
        for rows in [day.totals, day.without_address, day.pairs, day.urls] {
            assert!((rows / day.messages - 1.0).abs() < 1e-3, "{day:?}");
        }
        // All 56 pairs of status and cache status, every minute.
        assert!((day.status_and_cache / (56.0 * DAY_MINUTES) - 1.0).abs() < 1e-3);
    }

    #[test]
    fn more_batches_are_more_rows_and_never_more_than_messages() {
        let (one, ten) = (
            at(Profile::Realistic, 1e4, 1.0),
            at(Profile::Realistic, 1e4, 10.0),
        );
        assert!(one.totals_uncut < one.totals && one.totals < ten.totals);
        assert!(ten.totals <= ten.messages);
        assert_eq!(one.without_address, ten.without_address);
    }

    #[test]
    fn nothing_and_far_too_much_are_reckoned_with() {
        for rate in [0.0, 1e-9, 1e12] {
            for profile in [Profile::Realistic, Profile::Uniform] {
                let day = at(profile, rate, 1.0 + rate / 1e3);
                assert!(day.totals.is_finite() && day.urls.is_finite(), "{day:?}");
                assert!(day.totals <= day.messages + 1e-9);
            }
        }
    }
}
