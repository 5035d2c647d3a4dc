//! What a commit says: an offset, and who committed it. And what a log holds, which
//! both are held against.
//!
//! Metadata of a commit is untrusted: what is not exactly ours is somebody else's.

use std::fmt;

use uuid::Uuid;

use crate::spool::format::footer::Source;

/// First word of the metadata of our commits; the digit is its version.
const METADATA_TAG: &str = "spoolhouse/1";

/// Whose commit it is: written into the commit's metadata, read back at the
/// next assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The spool that committed.
    pub spool: Uuid,
    /// The segment whose seal led to the commit.
    pub segment: u64,
    /// The id of the topic that the offset belongs to: a commit can outlive its
    /// topic, and then stands beside a new one of the same name.
    pub topic_id: String,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{METADATA_TAG} {} {} {}",
            self.spool, self.segment, self.topic_id
        )
    }
}

impl Signature {
    /// Parses a commit's metadata; `None` if somebody else wrote it.
    pub fn parse(metadata: &str) -> Option<Self> {
        let mut words = metadata.split(' ');
        if words.next() != Some(METADATA_TAG) {
            return None;
        }
        let signature = Self {
            spool: words.next()?.parse().ok()?,
            segment: words.next()?.parse().ok()?,
            topic_id: words.next()?.to_owned(),
        };
        words.next().is_none().then_some(signature)
    }
}

/// A committed offset as Kafka has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read, says the group.
    pub offset: i64,
    /// Who committed it, if it was a spool.
    pub signature: Option<Signature>,
}

impl Committed {
    /// Whether the commit was made for another topic than `source`. One without
    /// a signature is taken at its word.
    pub fn is_of_other_topic(&self, source: &Source) -> bool {
        self.signature
            .as_ref()
            .is_some_and(|by| by.topic_id != source.topic_id)
    }
}

/// The offsets that a partition's log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// First offset that is still there.
    pub start: i64,
    /// The offset that the next message gets.
    pub end: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_reads_back_and_nothing_else_does() {
        let signature = Signature {
            spool: Uuid::from_u128(7),
            segment: 42,
            topic_id: "MkTRXjqWTxi9Ynq5bR7y-w".into(),
        };
        assert_eq!(
            Signature::parse(&signature.to_string()),
            Some(signature.clone())
        );
        for other in [
            "",
            "spoolhouse/1",
            "spoolhouse/2 x 1",
            "NONE",
            &format!("{signature} 9"),
        ] {
            assert_eq!(Signature::parse(other), None, "{other:?}");
        }
    }
}
