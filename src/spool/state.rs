//! `spool.json`: the little that a listing can't tell.
//!
//! Format version, the spool's id, the next number (numbers are never used
//! twice, so an old file put back by hand can't be taken for a new one) and the
//! positions: up to which offset every partition is durably in the spool.
//! Replaced atomically, and only after the segment it describes is published.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::format::footer::{FORMAT, SegmentFooter, Source};

/// How many topics' positions are remembered: enough to come back from a wrong
/// cluster, or from a topic that was created anew.
const SOURCES_MAX: usize = 16;

/// Content of `spool.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// [`FORMAT`]; any other is refused.
    pub format: u32,
    /// Identity of this spool, drawn at its creation.
    pub spool: Uuid,
    /// The number that the next segment gets.
    pub next_segment: u64,
    /// Positions by topic, the one that was read last at the end.
    #[serde(default)]
    pub sources: Vec<Positions>,
}

/// How far one topic was taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Positions {
    /// Which topic of which cluster.
    pub source: Source,
    /// Per partition the offset of the next message to take in.
    pub positions: BTreeMap<i32, i64>,
}

/// Why `spool.json` can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It does not parse.
    #[error("it does not parse: {0}")]
    Parse(#[from] serde_json::Error),
    /// It was written by another version.
    #[error("it has format {0}, and this version of spoolhouse knows only format {FORMAT}")]
    Format(u32),
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl State {
    /// The state of a spool that was just created. Numbers start at 1.
    pub fn new(spool: Uuid) -> Self {
        Self {
            format: FORMAT,
            spool,
            next_segment: 1,
            sources: Vec::new(),
        }
    }

    /// Parses `spool.json`, the version before anything else.
    pub fn parse(bytes: &[u8]) -> Result<Self, StateError> {
        let version: Version = serde_json::from_slice(bytes)?;
        if version.format != FORMAT {
            return Err(StateError::Format(version.format));
        }
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Own position of a partition of exactly that topic: an offset of one topic
    /// means nothing in another, even under the same name.
    pub fn position(&self, source: &Source, partition: i32) -> Option<i64> {
        self.sources
            .iter()
            .find(|known| known.source == *source)
            .and_then(|known| known.positions.get(&partition).copied())
    }

    /// Notes a segment that was sealed: its number is used, and its offsets are
    /// durable. One that was noted before changes nothing, so that an operator's
    /// rewind is not undone by what lies in the spool.
    pub fn note_sealed(&mut self, footer: &SegmentFooter) {
        if footer.segment < self.next_segment {
            return;
        }
        self.next_segment = footer.segment + 1;
        if footer.replayed_from.is_some() {
            return; // its offsets were accounted for long ago
        }
        let ends = footer.offsets.iter().map(|(p, range)| (*p, range.1));
        self.set_positions(&footer.source, ends);
    }

    /// Takes over positions of `source`.
    pub fn set_positions(
        &mut self,
        source: &Source,
        positions: impl IntoIterator<Item = (i32, i64)>,
    ) {
        let place = self
            .sources
            .iter()
            .position(|known| known.source == *source);
        let mut known = match place {
            Some(place) => self.sources.remove(place),
            None => Positions {
                source: source.clone(),
                positions: BTreeMap::new(),
            },
        };
        known.positions.extend(positions);
        self.sources.push(known);
        let surplus = self.sources.len().saturating_sub(SOURCES_MAX);
        self.sources.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(topic_id: &str) -> Source {
        Source {
            cluster: "c".into(),
            topic: "http_log".into(),
            topic_id: topic_id.into(),
        }
    }

    #[test]
    fn a_position_is_never_applied_to_a_recreated_topic() {
        let mut state = State::new(Uuid::nil());
        state.set_positions(&source("old"), [(0, 500)]);
        assert_eq!(state.position(&source("old"), 0), Some(500));
        assert_eq!(state.position(&source("new"), 0), None);
        state.set_positions(&source("new"), [(1, 3)]);
        assert_eq!(state.position(&source("new"), 0), None);
        assert_eq!(state.position(&source("old"), 0), Some(500));
    }

    #[test]
    fn the_topics_read_longest_ago_are_forgotten_first() {
        let mut state = State::new(Uuid::nil());
        for topic in 0..=SOURCES_MAX {
            state.set_positions(&source(&topic.to_string()), [(0, 1)]);
            state.set_positions(&source("0"), [(0, 2)]);
        }
        assert_eq!(state.sources.len(), SOURCES_MAX);
        assert_eq!(state.position(&source("0"), 0), Some(2));
        assert_eq!(state.position(&source("1"), 0), None);
    }

    #[test]
    fn an_unknown_format_is_refused_before_its_content_is_read() {
        let error = State::parse(br#"{"format": 9, "whatever": 1}"#).unwrap_err();
        assert!(matches!(error, StateError::Format(9)), "{error}");
    }
}
