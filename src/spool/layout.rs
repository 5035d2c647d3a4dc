//! Where things lie in a spool and what they are called: the one table of which
//! name may lie where ([`Directory::look_up`]).
//!
//! State is a file's place and name, nothing else: the directory says how far a
//! file has come, the name which records it holds. Both are parsed as untrusted
//! input; a name that is not exactly one of ours is foreign.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use super::disk::Disk;

/// A subdirectory of the spool, in the order in which a record passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Directory {
    /// Drafts; whatever a start finds here was never published.
    Open,
    /// Segments whose offsets are not known to be committed.
    Sealed,
    /// Segments that wait to be packed.
    Ready,
    /// Frozen batches, oldest first.
    Batches,
    /// The batch that may have been posted.
    Sending,
    /// Batches whose data ClickHouse refused.
    Rejected,
    /// Messages that could not be decoded.
    Undecodable,
    /// What no rule can decide.
    Doubtful,
    /// Requests of the command line to the running owner.
    Inbox,
}

impl Directory {
    /// Every directory.
    pub const ALL: [Self; 9] = [
        Self::Open,
        Self::Sealed,
        Self::Ready,
        Self::Batches,
        Self::Sending,
        Self::Rejected,
        Self::Undecodable,
        Self::Doubtful,
        Self::Inbox,
    ];

    /// The directory's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Sealed => "sealed",
            Self::Ready => "ready",
            Self::Batches => "batches",
            Self::Sending => "sending",
            Self::Rejected => "rejected",
            Self::Undecodable => "undecodable",
            Self::Doubtful => "doubtful",
            Self::Inbox => "inbox",
        }
    }
}

/// What a file is by its name and the directory that it lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ByName {
    /// Written, but not published yet.
    Draft,
    /// One of our files, where it may lie.
    Ours(Name),
    /// One of our files, where it has no place.
    Misplaced(Name),
    /// Not one of our files.
    Foreign,
}

impl Directory {
    /// What a file of this name is in this directory.
    pub fn look_up(self, text: &str) -> ByName {
        if self == Self::Open && text.strip_suffix(DRAFT).and_then(Name::parse).is_some() {
            return ByName::Draft;
        }
        match Name::parse(text) {
            None => ByName::Foreign,
            Some(name) if self.may_hold(&name) => ByName::Ours(name),
            Some(name) => ByName::Misplaced(name),
        }
    }

    fn may_hold(self, name: &Name) -> bool {
        match self {
            Self::Open | Self::Inbox => false,
            Self::Sealed | Self::Ready => matches!(name, Name::Segment { .. }),
            Self::Batches | Self::Sending | Self::Rejected => matches!(name, Name::Batch { .. }),
            Self::Undecodable => matches!(name, Name::Undecodable { .. }),
            Self::Doubtful => true,
        }
    }
}

/// What follows the name of a file that is not published yet.
const DRAFT: &str = ".part";

/// The name of one of our Parquet files.
///
/// The order is age: by number, and within a number by first row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// `seg-0000000042.parquet`, or `seg-0000000042-from-1200.parquet` for what
    /// is left of it from that row on.
    Segment {
        /// The segment's number.
        number: u64,
        /// First row of the original segment that this file holds.
        first_row: u64,
    },
    /// `batch-0000000039-<sha256>.parquet`: numbered by the oldest segment in it.
    Batch {
        /// Number of the oldest segment that the batch covers.
        number: u64,
        /// SHA-256 of the file's bytes, 64 lower-case hex digits: also the insert's token.
        digest: String,
    },
    /// `und-0000000042.parquet`: what arrived with segment 42 and could not be decoded.
    Undecodable {
        /// Number of the segment that was sealed with it.
        number: u64,
    },
}

impl Name {
    /// The name of a whole segment.
    pub fn segment(number: u64) -> Self {
        Self::Segment {
            number,
            first_row: 0,
        }
    }

    /// The number in the name.
    pub fn number(&self) -> u64 {
        match self {
            Self::Segment { number, .. }
            | Self::Batch { number, .. }
            | Self::Undecodable { number } => *number,
        }
    }

    /// Parses a file name; `None` for anything that [`Name`] would not print.
    pub fn parse(text: &str) -> Option<Self> {
        let stem = text.strip_suffix(".parquet")?;
        let name = if let Some(rest) = stem.strip_prefix("seg-") {
            let (number, first_row) = match rest.split_once("-from-") {
                Some((number, row)) => (number, row.parse().ok()?),
                None => (rest, 0),
            };
            Self::Segment {
                number: number.parse().ok()?,
                first_row,
            }
        } else if let Some(rest) = stem.strip_prefix("batch-") {
            let (number, digest) = rest.split_once('-')?;
            let is_lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            if digest.len() != 64 || !digest.bytes().all(is_lower_hex) {
                return None;
            }
            Self::Batch {
                number: number.parse().ok()?,
                digest: digest.to_owned(),
            }
        } else {
            Self::Undecodable {
                number: stem.strip_prefix("und-")?.parse().ok()?,
            }
        };
        // One spelling only: `seg-7.parquet` or `seg-+000000007.parquet` is not ours.
        (name.to_string() == text).then_some(name)
    }
}

impl Name {
    /// The name that a file has, or had before something was put behind it: the
    /// `.part` of a draft, the number of a second file of that name in `doubtful/`.
    pub fn parse_with_suffix(text: &str) -> Option<Self> {
        let (stem, _) = text.split_once(".parquet")?;
        Self::parse(&format!("{stem}.parquet"))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment {
                number,
                first_row: 0,
            } => write!(f, "seg-{number:010}.parquet"),
            Self::Segment { number, first_row } => {
                write!(f, "seg-{number:010}-from-{first_row}.parquet")
            }
            Self::Batch { number, digest } => write!(f, "batch-{number:010}-{digest}.parquet"),
            Self::Undecodable { number } => write!(f, "und-{number:010}.parquet"),
        }
    }
}

/// Paths inside one spool directory.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of the spool at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The spool directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a directory.
    pub fn directory(&self, directory: Directory) -> PathBuf {
        self.root.join(directory.name())
    }

    /// The path of a file in a directory.
    pub fn file(&self, directory: Directory, name: &str) -> PathBuf {
        self.directory(directory).join(name)
    }

    /// Where a file is written before it is published under `name`.
    pub fn draft(&self, name: &Name) -> PathBuf {
        self.file(Directory::Open, &format!("{name}{DRAFT}"))
    }

    /// The files of a directory that carry exactly one of our names, by age, with
    /// their sizes in bytes.
    ///
    /// # Errors
    /// An I/O error from the spool's disk.
    pub fn files(&self, disk: &dyn Disk, directory: Directory) -> io::Result<Vec<(Name, u64)>> {
        let entries = disk.list(&self.directory(directory))?.into_iter();
        let ours = entries.filter(|entry| entry.is_file);
        let mut files: Vec<(Name, u64)> = ours
            .filter_map(|entry| Some((Name::parse(&entry.name)?, entry.bytes)))
            .collect();
        files.sort();
        Ok(files)
    }

    /// The advisory lock of the owning process.
    pub fn lock(&self) -> PathBuf {
        self.root.join("LOCK")
    }

    /// Format version, spool id, next number, positions.
    pub fn state(&self) -> PathBuf {
        self.root.join("spool.json")
    }

    /// What the upload has learned about the proxy.
    pub fn pace(&self) -> PathBuf {
        self.root.join("pace.json")
    }

    /// Journal of files of undecodable messages that went whole.
    pub fn dropped(&self) -> PathBuf {
        self.file(Directory::Undecodable, "dropped.jsonl")
    }

    /// Journal of offsets that were lost upstream.
    pub fn gaps(&self) -> PathBuf {
        self.root.join("gaps.jsonl")
    }
}

/// Name of the file beside `name` that says why it was rejected.
pub fn error_sidecar(name: &str) -> String {
    format!("{}.error.json", name.trim_end_matches(".parquet"))
}

/// Name of the file beside `name` that says why it is in doubt.
pub fn reason_sidecar(name: &str) -> String {
    format!("{}.reason.json", name.trim_end_matches(".parquet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_back_to_itself() {
        let names = [
            Name::segment(42),
            Name::Segment {
                number: 12_345_678_901,
                first_row: 1200,
            },
            Name::Batch {
                number: 39,
                digest: "a".repeat(64),
            },
            Name::Undecodable { number: 7 },
        ];
        for name in names {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
    }

    #[test]
    fn a_name_spelled_otherwise_is_foreign() {
        for text in [
            "seg-42.parquet",
            "seg-+000000042.parquet",
            "seg-0000000042-from-0.parquet",
            "seg-0000000042.parquet.part",
            "seg-99999999999999999999999.parquet",
            "batch-0000000039-abc.parquet",
            "und-.parquet",
            "notes.txt",
            "",
        ] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_has_its_place() {
        let segment = "seg-0000000042.parquet";
        assert_eq!(
            Directory::Ready.look_up(segment),
            ByName::Ours(Name::segment(42))
        );
        assert_eq!(
            Directory::Sending.look_up(segment),
            ByName::Misplaced(Name::segment(42))
        );
        assert_eq!(Directory::Ready.look_up("seg-42.parquet"), ByName::Foreign);
        let draft = format!("{segment}.part");
        assert_eq!(Directory::Open.look_up(&draft), ByName::Draft);
        assert_eq!(Directory::Ready.look_up(&draft), ByName::Foreign);
    }

    #[test]
    fn what_follows_a_name_is_left_out() {
        for text in ["", ".part", ".2"] {
            let text = format!("seg-0000000042.parquet{text}");
            assert_eq!(Name::parse_with_suffix(&text), Some(Name::segment(42)));
        }
        assert_eq!(Name::parse_with_suffix("seg-0000000042.reason.json"), None);
    }

    #[test]
    fn an_older_segment_comes_first_and_its_remainder_before_the_next() {
        let mut names = [
            Name::segment(41),
            Name::Segment {
                number: 40,
                first_row: 1200,
            },
            Name::segment(9),
        ];
        names.sort();
        assert_eq!(names.map(|name| name.number()), [9, 40, 41]);
    }
}
