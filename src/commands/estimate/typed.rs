//! Reads what is typed: a rate, a retention, a skew. Every text is a value within
//! its limits or an error that says what would be one.

use std::fmt;
use std::str::FromStr;

/// The highest rate, messages per second: far above any, and every figure that
/// follows from it is still a number.
pub(super) const RATE_MAX: f64 = 1e12;

/// The longest retention, days: the end of what a DateTime holds, and more.
const DAYS_MAX: f64 = 100_000.0;

/// The steepest skew.
const SKEW_MAX: f64 = 4.0;

/// Messages per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(pub f64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "write a number from 0 to {RATE_MAX:.0} per second, such as 200/s, 1.5k/s, 2M/min \
                 or 1000000/d"
            )
        };
        let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
        let seconds = match unit.trim() {
            "s" => 1.0,
            "min" | "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(bad()),
        };
        let number = number.trim();
        let (digits, times) = match number.chars().last() {
            Some('k') => (&number[..number.len() - 1], 1e3),
            Some('M') => (&number[..number.len() - 1], 1e6),
            _ => (number, 1.0),
        };
        let typed = plain(digits).ok_or_else(bad)?;
        let rate = typed * times / seconds;
        match (0.0..=RATE_MAX).contains(&rate) {
            true => Ok(Self(rate)),
            false => Err(bad()),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

/// How long rows are kept, days.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Days(pub f64);

impl FromStr for Days {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: &dyn fmt::Display| {
            format!("write a time up to {DAYS_MAX:.0} days, such as 90d, 12h or 1year ({why})")
        };
        let typed = humantime::parse_duration(text.trim()).map_err(|error| bad(&error))?;
        let days = typed.as_secs_f64() / crate::estimate::keys::DAY_S;
        match days <= DAYS_MAX {
            true => Ok(Self(days)),
            false => Err(bad(&"that is longer")),
        }
    }
}

/// A skew.
pub(super) fn skew(text: &str) -> Result<f64, String> {
    let typed = plain(text).filter(|skew| *skew <= SKEW_MAX);
    typed.ok_or_else(|| format!("write a number from 0 (all alike) to {SKEW_MAX}"))
}

/// A number of digits, with a point perhaps: no sign, no infinity.
fn plain(text: &str) -> Option<f64> {
    let is_plain = text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.parse().ok().filter(|_: &f64| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_a_unit_or_are_per_second() {
        for (text, rate) in [
            ("200/s", 200.0),
            ("200", 200.0),
            ("1.5k/s", 1_500.0),
            ("6M/min", 100_000.0),
            ("864000/d", 10.0),
            (" 3600 / h", 1.0),
            ("0/s", 0.0),
        ] {
            assert_eq!(text.parse(), Ok(Rate(rate)), "{text}");
        }
        for text in [
            "",
            "/s",
            "-1/s",
            "1e3/s",
            "NaN",
            "inf/s",
            "200/w",
            "k/s",
            "1,000",
            "2000000M/s",
            "ä",
        ] {
            let error = text.parse::<Rate>().unwrap_err();
            assert!(error.contains("such as 200/s"), "{text}: {error}");
        }
    }

    #[test]
    fn times_are_days() {
        assert_eq!("90d".parse(), Ok(Days(90.0)));
        assert_eq!("12h".parse(), Ok(Days(0.5)));
        assert_eq!("0s".parse(), Ok(Days(0.0)));
        for text in ["", "90", "-1d", "1000years", "99999999999999999years"] {
            let error = text.parse::<Days>().unwrap_err();
            assert!(error.contains("such as 90d"), "{text}: {error}");
        }
    }

    #[test]
    fn a_skew_is_a_small_number() {
        assert_eq!(skew("0"), Ok(0.0));
        assert_eq!(skew("1.2"), Ok(1.2));
        for text in ["-1", "5", "NaN", "", "inf"] {
            assert!(skew(text).is_err(), "{text}");
        }
    }
}
