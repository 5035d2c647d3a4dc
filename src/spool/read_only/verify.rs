//! Reads a whole spool and says what is wrong with it.
//!
//! Invariant: changes nothing and takes no lock: it may look while the owner works.
//! A file that moved on between listing and reading is looked for again, and
//! what two files seem to hold both counts only if it is still so after several
//! looks. One file is in memory at a time; of the others, what their footers say.

mod across;
mod content;
mod problem;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::spool::disk::{Disk, Entry};
use crate::spool::format::error::Fault;
use crate::spool::format::footer::OffsetRange;
use crate::spool::layout::{Directory, Layout, Name};
use crate::spool::start::recovery_plan::Place;
use crate::spool::state::State;
use content::Content;
use problem::finding;

/// How often the spool is looked at again before a finding that concerns
/// several files is believed.
const LOOKS: usize = 4;

/// What a verification needs from outside.
pub struct Options<'o> {
    /// Whether an address is masked.
    pub is_masked: &'o dyn Fn(&str) -> bool,
    /// Called before the first file and after every file: bytes read so far and
    /// bytes in all.
    pub progress: &'o mut dyn FnMut(u64, u64),
    /// Called between two looks at a spool that may be changing.
    pub pause: &'o dyn Fn(),
}

/// What is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What is wrong.
    pub what: String,
    /// What to do next.
    pub next: String,
}

/// A file and what was found in it.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// Its path in the spool.
    #[serde(serialize_with = "path")]
    pub file: Place,
    /// What it is.
    pub kind: Kind,
    /// Its size, bytes.
    pub bytes: u64,
    /// Its rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Offsets per partition that it accounts for; the end of a range is the
    /// first offset after it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub offsets: BTreeMap<i32, Vec<OffsetRange>>,
    /// What is wrong with it.
    pub faults: Vec<Finding>,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Rows on their way into a batch.
    Segment,
    /// A frozen insert.
    Batch,
    /// Messages that could not be decoded.
    Undecodable,
    /// Not published yet.
    Draft,
    /// In `doubtful/`: not looked into.
    SetAside,
    /// None of ours.
    Foreign,
}

/// A state in between that the next start, or the running owner, clears up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Note {
    /// The file's path in the spool.
    pub file: String,
    /// What will become of it.
    pub what: String,
}

/// What a verification found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The spool's id, if `spool.json` tells it.
    pub spool: Option<Uuid>,
    /// What is wrong with `spool.json`.
    pub state: Option<Finding>,
    /// Every file that was seen, by place.
    pub files: Vec<FileReport>,
    /// What is no fault, but not at rest either.
    pub notes: Vec<Note>,
}

impl Report {
    /// Number of faults.
    pub fn faults(&self) -> usize {
        let in_files: usize = self.files.iter().map(|file| file.faults.len()).sum();
        in_files + usize::from(self.state.is_some())
    }
}

/// Verifies the spool at `layout`.
///
/// # Errors
/// An I/O error from the spool's disk, for directories that can't be listed. A file that can't be read
/// is a fault of that file.
pub fn verify<'v>(
    disk: &'v dyn Disk,
    layout: &'v Layout,
    options: Options<'v>,
) -> io::Result<Report> {
    let (state, trouble) = match disk.read(&layout.state()) {
        Ok(bytes) => match State::parse(&bytes) {
            Ok(state) => (Some(state), None),
            Err(error) => (None, Some(error.to_string())),
        },
        Err(error) => (None, Some(error.to_string())),
    };
    let mut survey = Survey {
        disk,
        layout,
        options,
        spool: state.as_ref().map(|state| state.spool),
        seen: HashMap::new(),
        read: 0,
        total: 0,
    };
    let mut listing = survey.look()?;
    let next_segment = |listing: &HashSet<Place>| {
        let numbers = listing.iter().filter_map(|(_, name)| Name::parse(name));
        // Without spool.json no file is taken for an orphan.
        let after_all = numbers.map(|name| name.number() + 1).max().unwrap_or(1);
        state.as_ref().map_or(after_all, |state| state.next_segment)
    };
    let mut crossing = across::find(&survey.here(&listing), next_segment(&listing));
    for _ in 1..LOOKS {
        if crossing.is_empty() {
            break;
        }
        (survey.options.pause)();
        listing = survey.look()?;
        let again = across::find(&survey.here(&listing), next_segment(&listing));
        crossing.retain_also_in(&again);
    }
    let state = trouble.map(|trouble| Finding {
        what: format!("spool.json can't be used: {trouble}"),
        next: "put back the spool.json that belongs to these files; spoolhouse does not start \
               without it"
            .into(),
    });
    Ok(survey.report(&listing, crossing, state))
}

struct Survey<'s> {
    disk: &'s dyn Disk,
    layout: &'s Layout,
    options: Options<'s>,
    spool: Option<Uuid>,
    seen: HashMap<Place, (u64, Content)>,
    read: u64,
    total: u64,
}

impl Survey<'_> {
    /// Lists the spool and reads what wasn't read before, until nothing slips
    /// away between the two.
    fn look(&mut self) -> io::Result<HashSet<Place>> {
        let mut places = HashSet::new();
        for _ in 0..LOOKS {
            let listed = self.list()?;
            places = listed.iter().map(|(place, _)| place.clone()).collect();
            let new: Vec<(Place, Entry)> = listed
                .into_iter()
                .filter(|(place, _)| !self.seen.contains_key(place))
                .collect();
            self.total += new.iter().map(|(_, entry)| entry.bytes).sum::<u64>();
            (self.options.progress)(self.read, self.total);
            let mut slipped = false;
            for (place, entry) in new {
                slipped |= !self.examine(place, &entry);
                self.read += entry.bytes;
                (self.options.progress)(self.read, self.total);
            }
            if !slipped {
                break;
            }
        }
        Ok(places)
    }

    fn list(&self) -> io::Result<Vec<(Place, Entry)>> {
        let mut listed = Vec::new();
        for directory in Directory::ALL {
            let entries = match self.disk.list(&self.layout.directory(directory)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                if is_looked_at(directory, &entry) {
                    listed.push(((directory, entry.name.clone()), entry));
                }
            }
        }
        Ok(listed)
    }

    /// Reads one file; whether it was still there.
    fn examine(&mut self, place: Place, entry: &Entry) -> bool {
        let path = self.layout.file(place.0, &place.1);
        let read = || match self.disk.read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Fault::Unreadable(error.to_string())),
        };
        let content = content::examine(&place, entry, self.spool, self.options.is_masked, read);
        let Some(content) = content else {
            return false;
        };
        self.seen.insert(place, (entry.bytes, content));
        true
    }

    /// What is known of the files that were listed last.
    fn here(&self, listing: &HashSet<Place>) -> BTreeMap<&Place, &Content> {
        let seen = self.seen.iter();
        seen.filter(|(place, _)| listing.contains(*place))
            .map(|(place, (_, content))| (place, content))
            .collect()
    }

    fn report(
        self,
        listing: &HashSet<Place>,
        mut crossing: across::Crossing,
        state: Option<Finding>,
    ) -> Report {
        let here: HashSet<String> = listing.iter().map(|(_, name)| name.clone()).collect();
        let mut files: Vec<FileReport> = self
            .seen
            .into_iter()
            // One that moved on is reported where it is now.
            .filter(|(place, _)| listing.contains(place) || !here.contains(&place.1))
            .map(|(place, (bytes, content))| {
                let across = crossing.faults.remove(&place).into_iter().flatten();
                let faults = content
                    .problems
                    .iter()
                    .map(|problem| finding(place.0, problem));
                FileReport {
                    kind: content.kind,
                    bytes,
                    rows: content.rows,
                    offsets: content.offsets(),
                    faults: faults.chain(across).collect(),
                    file: place,
                }
            })
            .collect();
        files.sort_by(|a, b| a.file.cmp(&b.file));
        Report {
            spool: self.spool,
            state,
            files,
            notes: crossing.notes.into_iter().collect(),
        }
    }
}

/// Sidecars, and what operators keep beside them, are theirs; so is `inbox/`.
fn is_looked_at(directory: Directory, entry: &Entry) -> bool {
    match directory {
        Directory::Inbox => false,
        Directory::Rejected | Directory::Undecodable | Directory::Doubtful => {
            Name::parse(&entry.name).is_some()
        }
        _ => true,
    }
}

fn path<S: Serializer>(place: &Place, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{}/{}", place.0.name(), place.1))
}
