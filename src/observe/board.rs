//! What the server shows: the commands put it up here, requests read it. Knows
//! nobody that it speaks of: figures arrive as values, loops as heartbeats.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use super::history::{self, History, Sample};
use super::status::{Document, Samples};
use crate::heartbeat::Heartbeat;

/// A loop that has not turned for so long is taken for dead: longer than any
/// question to Kafka or disk takes on a bad day.
const PULSE_AGE_MAX: Duration = Duration::from_secs(60);

/// The board; clones are the same one.
#[derive(Clone, Debug)]
pub struct Board {
    heartbeats: Arc<Vec<(&'static str, Heartbeat)>>,
    shown: Arc<RwLock<Shown>>,
}

#[derive(Debug)]
struct Shown {
    /// Why it is not ready, if it isn't.
    held: Option<String>,
    status: Document,
    history: History,
}

impl Board {
    /// A board of loops, by name; not ready before somebody says so.
    pub fn new(heartbeats: Vec<(&'static str, Heartbeat)>) -> Self {
        Self {
            heartbeats: Arc::new(heartbeats),
            shown: Arc::new(RwLock::new(Shown {
                held: Some("it is starting".to_owned()),
                status: Document::default(),
                history: History::default(),
            })),
        }
    }

    /// Whether all loops turn.
    ///
    /// # Errors
    /// Which one doesn't, and for how long.
    pub fn alive(&self, now: Instant) -> Result<(), String> {
        for (name, heartbeat) in self.heartbeats.iter() {
            let age = heartbeat.age(now);
            if age > PULSE_AGE_MAX {
                return Err(format!(
                    "the loop of {name} has not turned for {} s",
                    age.as_secs()
                ));
            }
        }
        Ok(())
    }

    /// Whether it does its work: alive, and nothing holds it.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self, now: Instant) -> Result<(), String> {
        self.alive(now)?;
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        shown.held.clone().map_or(Ok(()), Err)
    }

    /// Puts up what holds it, if anything does, and the figures; and, when it is
    /// time, a sample: whether it was.
    pub fn put_up(
        &self,
        held: Option<String>,
        status: Document,
        sample: Sample,
        now: SystemTime,
    ) -> bool {
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        shown.held = held;
        shown.status = status;
        shown.history.add(sample, now)
    }

    /// The figures with the samples after `since_ms`.
    pub fn status(&self, since_ms: u64, now: Instant) -> Document {
        let ready = self.ready(now);
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        Document {
            ready: ready.is_ok(),
            held: ready.err(),
            history: Samples {
                every_s: history::EVERY.as_secs(),
                samples_max: history::SAMPLES_MAX as u64,
                samples: shown.history.since(since_ms),
            },
            ..shown.status.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn board(start: Instant) -> (Board, Heartbeat, Heartbeat) {
        let (ingest, upload) = (Heartbeat::new(start), Heartbeat::new(start));
        let heartbeats = vec![("ingest", ingest.clone()), ("upload", upload.clone())];
        (Board::new(heartbeats), ingest, upload)
    }

    #[test]
    fn one_loop_that_stands_still_for_a_minute_is_enough_to_be_dead() {
        let start = Instant::now();
        let (board, ingest, upload) = board(start);
        assert_eq!(board.alive(start + MINUTE), Ok(()));
        let later = start + MINUTE + Duration::from_secs(2);
        ingest.beat(later);
        let why = board.alive(later).unwrap_err();
        assert_eq!(why, "the loop of upload has not turned for 62 s");
        upload.beat(later);
        assert_eq!(board.alive(later), Ok(()));
    }

    #[test]
    fn it_is_ready_once_nothing_holds_it() {
        let start = Instant::now();
        let (board, ..) = board(start);
        let put_up = |held: Option<&str>| {
            let held = held.map(str::to_owned);
            board.put_up(held, Document::default(), Sample::default(), UNIX_EPOCH)
        };
        assert_eq!(board.ready(start), Err("it is starting".to_owned()));
        put_up(None);
        assert_eq!(board.ready(start), Ok(()));
        put_up(Some("paused"));
        assert_eq!(board.ready(start), Err("paused".to_owned()));
        put_up(None);
        assert!(board.ready(start + MINUTE * 2).is_err(), "its loops stand");
    }

    #[test]
    fn the_figures_come_with_the_samples_that_are_new() {
        let start = Instant::now();
        let (board, ..) = board(start);
        let status = || Document {
            next_slot_ms: Some(7),
            ..Document::default()
        };
        for second in [1_000, 1_010, 1_030] {
            let now = UNIX_EPOCH + Duration::from_secs(second);
            board.put_up(None, status(), Sample::default(), now);
        }
        let all = board.status(0, start);
        assert_eq!((all.next_slot_ms, all.ready), (Some(7), true));
        assert_eq!(all.held, None);
        let times = |status: &Document| -> Vec<u64> {
            let samples = status.history.samples.iter();
            samples.map(|sample| sample.at_ms).collect()
        };
        assert_eq!(times(&all), [1_000_000, 1_030_000]);
        assert_eq!(times(&board.status(1_000_000, start)), [1_030_000]);
    }
}
