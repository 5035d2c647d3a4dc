//! How likely keys are: so many keys of such a share, in bins.
//!
//! Answers what is expected of independent draws without drawing: how many
//! different keys there are among so many messages, how far apart the rows of one
//! key lie. Invariant: the shares of all keys add up to one, whatever the bins.

/// Ranks up to this one have a bin of their own.
const EXACT_RANKS: u64 = 64;

/// Shares of one bin are at most so many times apart; halving the distance
/// changes no figure by a thousandth.
const BIN_WIDTH: f64 = 1.1;

/// Keys that are about equally likely.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bin {
    /// How many.
    count: f64,
    /// The share of each of them in all draws, on average.
    share: f64,
}

/// All keys of a kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spectrum(Vec<Bin>);

impl Spectrum {
    /// `count` keys, the `rank`-th in proportion to 1 / `rank`^`skew`.
    pub fn zipf(count: u64, skew: f64) -> Self {
        let mut bins = Vec::new();
        let mut first = 1;
        while first <= count {
            let wide = if first <= EXACT_RANKS {
                1
            } else {
                (first as f64 * (BIN_WIDTH - 1.0)) as u64
            };
            let next = first
                .saturating_add(wide.max(1))
                .min(count.saturating_add(1));
            let keys = (next - first) as f64;
            let sum = match next - first {
                1 => (first as f64).powf(-skew),
                _ => sum_of_powers(first as f64 - 0.5, next as f64 - 0.5, skew),
            };
            bins.push(Bin {
                count: keys,
                share: sum / keys,
            });
            if next == u64::MAX {
                break;
            }
            first = next;
        }
        Self::of(bins)
    }

    /// Keys with these weights.
    pub fn weights(weights: &[u64]) -> Self {
        let bin = |weight: &u64| Bin {
            count: 1.0,
            share: *weight as f64,
        };
        Self::of(weights.iter().map(bin).collect())
    }

    /// All pairs of a key of this kind and one of another, drawn independently.
    pub fn with(&self, other: &Self) -> Self {
        let pairs = self.0.iter().flat_map(|mine| {
            other.0.iter().map(|theirs| Bin {
                count: mine.count * theirs.count,
                share: mine.share * theirs.share,
            })
        });
        Self::of(pairs.collect())
    }

    /// Puts alike shares together and makes all of them add up to one.
    fn of(mut bins: Vec<Bin>) -> Self {
        bins.retain(|bin| bin.count > 0.0 && bin.share > 0.0);
        bins.sort_by(|one, other| other.share.total_cmp(&one.share));
        let total: f64 = bins.iter().map(|bin| bin.count * bin.share).sum();
        let mut merged: Vec<(f64, Bin)> = Vec::new();
        for bin in bins {
            match merged.last_mut() {
                Some((most, last)) if *most <= bin.share * BIN_WIDTH.sqrt() => {
                    let sum = last.count * last.share + bin.count * bin.share;
                    last.count += bin.count;
                    last.share = sum / last.count;
                }
                _ => merged.push((bin.share, bin)),
            }
        }
        let scaled = merged.into_iter().map(|(_, bin)| Bin {
            share: bin.share / total,
            ..bin
        });
        Self(scaled.collect())
    }

    /// How many keys there are.
    #[cfg(test)]
    pub fn count(&self) -> f64 {
        self.0.iter().map(|bin| bin.count).sum()
    }

    /// How many different keys `draws` draws are expected to hit: the sum over
    /// all keys of 1 - (1 - share)^draws.
    pub fn distinct(&self, draws: f64) -> f64 {
        let hit = |bin: &Bin| {
            bin.count * -(draws * (-bin.share.min(1.0 - f64::EPSILON)).ln_1p()).exp_m1()
        };
        // Plus nothing: a sum of nothing is -0.
        self.0.iter().map(hit).sum::<f64>().min(draws) + 0.0
    }

    /// The same after `draws` draws went to one key of this kind after another,
    /// each in runs of at most `run`, every run hitting keys of `inner` anew:
    /// how many of those are hit, over all runs.
    pub fn distinct_in_runs(&self, draws: f64, run: f64, inner: &Self) -> f64 {
        let of = |bin: &Bin| {
            let rows = draws * bin.share;
            let length = rows.min(run);
            match length > 0.0 {
                true => bin.count * rows / length * inner.distinct(length),
                false => 0.0,
            }
        };
        self.0.iter().map(of).sum::<f64>().min(draws) + 0.0
    }

    /// The information in one draw, bits.
    pub fn bits(&self) -> f64 {
        let of = |bin: &Bin| bin.count * bin.share * -bin.share.log2();
        self.0.iter().map(of).sum::<f64>() + 0.0
    }

    /// The information, in bits per row, in when the rows of each key come, if
    /// `rows` of them are spread evenly over `slots` points in time and kept as the
    /// distances within the key: log2(1 + e * slots / rows of the key), since
    /// distances of independent events are exponential.
    pub fn bits_of_gaps(&self, rows: f64, slots: f64) -> f64 {
        let of = |bin: &Bin| {
            let of_key = (rows * bin.share).max(1.0);
            bin.count * bin.share * (1.0 + std::f64::consts::E * slots / of_key).log2()
        };
        self.0.iter().map(of).sum()
    }
}

/// The sum of rank^-`skew` over the ranks between two half ranks, as an integral:
/// right to one in 24 * rank^2.
fn sum_of_powers(from: f64, to: f64, skew: f64) -> f64 {
    let (rest, ratio) = (1.0 - skew, (to / from).ln());
    let factor = match (rest * ratio).abs() < 1e-9 {
        true => ratio,
        false => (rest * ratio).exp_m1() / rest,
    };
    from.powf(rest) * factor
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key by key, without bins.
    fn distinct_by_hand(shares: &[f64], draws: f64) -> f64 {
        let total: f64 = shares.iter().sum();
        let hit = |share: &f64| 1.0 - (1.0 - share / total).powf(draws);
        shares.iter().map(hit).sum()
    }

    fn near(one: f64, other: f64) -> bool {
        (one / other - 1.0).abs() < 2e-3
    }

    #[test]
    fn bins_hit_as_many_keys_as_the_keys_themselves() {
        for skew in [0.0, 0.6, 1.0, 1.3] {
            let shares: Vec<f64> = (1..=3_000)
                .map(|rank| f64::from(rank).powf(-skew))
                .collect();
            let spectrum = Spectrum::zipf(3_000, skew);
            assert!(near(spectrum.count(), 3_000.0));
            for draws in [1.0, 40.0, 2_000.0, 1e5, 1e9] {
                let (binned, exact) = (spectrum.distinct(draws), distinct_by_hand(&shares, draws));
                assert!(near(binned, exact), "{skew} {draws}: {binned} {exact}");
            }
        }
    }

    #[test]
    fn pairs_are_those_of_all_keys_with_all_keys() {
        let (some, others) = (Spectrum::zipf(200, 1.0), Spectrum::weights(&[900, 60, 40]));
        let mut shares = Vec::new();
        for rank in 1..=200 {
            shares.extend([900.0, 60.0, 40.0].map(|weight| weight / f64::from(rank)));
        }
        let pairs = some.with(&others);
        assert!(near(pairs.count(), 600.0));
        for draws in [1.0, 100.0, 5_000.0] {
            assert!(near(
                pairs.distinct(draws),
                distinct_by_hand(&shares, draws)
            ));
        }
        assert!((pairs.bits() - some.bits() - others.bits()).abs() < 0.01);
    }

    #[test]
    fn equal_keys_hold_the_logarithm_of_their_number() {
        let spectrum = Spectrum::zipf(1 << 24, 0.0);
        assert!((spectrum.bits() - 24.0).abs() < 1e-6);
        let every_minute = spectrum.bits_of_gaps(16_777_216.0 * 1440.0, 1440.0);
        assert!((every_minute - (1.0 + std::f64::consts::E).log2()).abs() < 1e-6);
    }

    #[test]
    fn runs_start_anew() {
        let (one, inner) = (Spectrum::weights(&[1]), Spectrum::zipf(100, 0.0));
        let all = one.distinct_in_runs(1e6, 1e3, &inner);
        assert!(near(all, 1_000.0 * inner.distinct(1e3)));
        assert_eq!(one.distinct_in_runs(0.0, 1e3, &inner), 0.0);
    }

    #[test]
    fn the_largest_numbers_stay_numbers() {
        for skew in [0.0, 1.0, 4.0] {
            let spectrum = Spectrum::zipf(u64::MAX, skew);
            for draws in [0.0, 1e-9, 1e30] {
                assert!(spectrum.distinct(draws).is_finite());
                assert!(spectrum.bits_of_gaps(draws, 1440.0).is_finite());
            }
        }
        assert_eq!(Spectrum::zipf(1, 1.0).distinct(5.0), 1.0);
    }
}
