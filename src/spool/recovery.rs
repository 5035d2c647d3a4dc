//! Turns a directory listing into repairs.
//!
//! Never invents an offset, never removes unsent data: it discards drafts that
//! were never published, removes rows only where a published batch or a twin
//! holds the same rows, finishes hand-overs that were cut short, and sets aside
//! what it doesn't understand. A function from values to values; `Spool::open`
//! reads the listing and carries the repairs out. Repairs are idempotent: a
//! crash among them leads to the same end.

use std::collections::BTreeMap;

use super::fault::Fault;
use super::footer::{BatchFooter, ReplayedFrom, SegmentFooter};
use super::layout::{Name, Room};

/// What a file was found to be.
#[derive(Debug)]
pub enum Found {
    /// A draft that was never published.
    Draft,
    /// A segment whose footer holds.
    Segment(SegmentFooter),
    /// A segment in `sealed/` whose rows were undecodable messages before. No
    /// commit decides about it, but whether those messages are still kept.
    Replayed(SegmentFooter, Held),
    /// A batch whose every byte was checked.
    Batch(BatchFooter),
    /// A file of undecodable messages, by its name.
    Undecodable,
    /// No file of ours, or no longer.
    Faulty(Fault),
}

/// Whether the file of undecodable messages that rows were replayed from
/// still holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It does: it was not replaced yet.
    Still,
    /// It was replaced or removed.
    NoLonger,
    /// It can't be read.
    Unknown,
}

impl Held {
    /// By the digests of the files in `undecodable/`, `None` for one that
    /// can't be read.
    pub fn find(from: &ReplayedFrom, digest: Option<Option<&str>>) -> Self {
        match digest {
            None => Self::NoLonger,
            Some(None) => Self::Unknown,
            Some(Some(digest)) if digest == from.digest => Self::Still,
            Some(Some(_)) => Self::NoLonger,
        }
    }
}

/// A file's place: room and name.
pub type Place = (Room, String);

/// What the directory holds, by place: drafts in `open/` and everything that
/// carries or should carry one of our names in the other rooms.
pub type Listing = BTreeMap<Place, Found>;

/// One step of a repair.
#[derive(Debug)]
pub enum Repair {
    /// Remove a draft or an orphan: what it holds was never acknowledged to Kafka.
    Discard(Place),
    /// Remove a file whose rows `by` holds.
    Redundant {
        /// The file.
        place: Place,
        /// The file that holds its rows.
        by: String,
    },
    /// Move a segment from `sealed/` to `ready/`: its rows are nowhere else.
    Release(Place),
    /// Write what is left of a segment from row `from_row` of the original on,
    /// then remove the segment.
    Remainder {
        /// The segment.
        place: Place,
        /// First row of the original segment that is left.
        from_row: u64,
    },
    /// Move to `doubtful/`, with the reason beside it.
    SetAside {
        /// The file.
        place: Place,
        /// Why.
        fault: Fault,
    },
}

/// Plans the repairs of a spool whose `spool.json` gives `next_segment`.
pub fn plan(mut listing: Listing, next_segment: u64) -> Vec<Repair> {
    let mut repairs = Vec::new();
    let settled: Vec<Place> = listing
        .iter()
        .filter(|(_, found)| matches!(found, Found::Draft | Found::Faulty(_)))
        .map(|(place, _)| place.clone())
        .collect();
    for place in settled {
        match listing.remove(&place) {
            Some(Found::Faulty(fault)) => repairs.push(Repair::SetAside { place, fault }),
            _ => repairs.push(Repair::Discard(place)),
        }
    }
    repairs.extend(twins(&mut listing));
    repairs.extend(replayed(&mut listing));
    repairs.extend(parts_of_unsplit(&mut listing));
    repairs.extend(covered(&mut listing));
    repairs.extend(overlapping(&mut listing));
    repairs.extend(orphans(&listing, next_segment));
    repairs
}

/// A move that was cut short by a power failure can leave a file under both its
/// names. The one further on its way stays: a batch in `sending/` may have been
/// posted, a segment in `ready/` was committed.
fn twins(listing: &mut Listing) -> Vec<Repair> {
    let further = [
        (Room::Sealed, Room::Ready),
        (Room::Batches, Room::Sending),
        (Room::Batches, Room::Rejected),
        (Room::Sending, Room::Rejected),
    ];
    let mut repairs = Vec::new();
    for (behind, ahead) in further {
        let twins: Vec<Place> = listing
            .keys()
            .filter(|(room, name)| *room == behind && listing.contains_key(&(ahead, name.clone())))
            .cloned()
            .collect();
        for place in twins {
            listing.remove(&place);
            repairs.push(Repair::Redundant {
                by: format!("{}/{}", ahead.name(), place.1),
                place,
            });
        }
    }
    repairs
}

/// Replays that were cut short: undone before the source was replaced, finished
/// after it.
fn replayed(listing: &mut Listing) -> Vec<Repair> {
    let mut repairs = Vec::new();
    let places: Vec<Place> = listing
        .iter()
        .filter(|(_, found)| matches!(found, Found::Replayed(..)))
        .map(|(place, _)| place.clone())
        .collect();
    for place in places {
        let Some(Found::Replayed(footer, held)) = listing.remove(&place) else {
            continue;
        };
        let number = footer.replayed_from.map_or(0, |from| from.undecodable);
        let by = Name::Undecodable { number }.to_string();
        repairs.push(match held {
            Held::Still => Repair::Redundant { place, by },
            Held::NoLonger => Repair::Release(place),
            Held::Unknown => Repair::SetAside {
                place,
                fault: Fault::ReplayUndecided(by),
            },
        });
    }
    repairs
}

/// Parts of a batch that is still there: the split was cut short, none of the
/// parts was sent, and it is done again.
fn parts_of_unsplit(listing: &mut Listing) -> Vec<Repair> {
    let whole: BTreeMap<String, String> = batches(listing)
        .filter_map(|(place, _)| match Name::parse(&place.1)? {
            Name::Batch { digest, .. } => Some((digest, place.1.clone())),
            _ => None,
        })
        .collect();
    let parts: Vec<(Place, String)> = batches(listing)
        .filter_map(|(place, footer)| {
            let by = whole.get(footer.split_from.as_ref()?)?;
            Some((place.clone(), by.clone()))
        })
        .collect();
    for (place, _) in &parts {
        listing.remove(place);
    }
    parts
        .into_iter()
        .map(|(place, by)| Repair::Redundant { place, by })
        .collect()
}

/// Segments whose rows a published batch holds: packing was cut short.
fn covered(listing: &mut Listing) -> Vec<Repair> {
    let mut repairs = Vec::new();
    let segments: Vec<(Place, SegmentFooter)> = listing
        .iter()
        .filter_map(|(place, found)| match found {
            Found::Segment(footer) => Some((place.clone(), footer.clone())),
            _ => None,
        })
        .collect();
    for (place, footer) in segments {
        let overlap = batches(listing).find_map(|(batch, batch_footer)| {
            let overlap = overlap(&footer, batch_footer);
            (!matches!(overlap, Overlap::None)).then(|| (overlap, batch.1.clone()))
        });
        let Some((overlap, by)) = overlap else {
            continue;
        };
        listing.remove(&place);
        let is_there = |first_row| {
            let rest = Name::Segment {
                number: footer.segment,
                first_row,
            };
            listing.contains_key(&(Room::Ready, rest.to_string()))
        };
        repairs.push(match overlap {
            Overlap::Head { from_row } if !is_there(from_row) => {
                Repair::Remainder { place, from_row }
            }
            Overlap::Middle => Repair::SetAside {
                place,
                fault: Fault::Overlap(by),
            },
            _ => Repair::Redundant { place, by },
        });
    }
    repairs
}

enum Overlap {
    None,
    All,
    Head { from_row: u64 },
    Middle,
}

fn overlap(segment: &SegmentFooter, batch: &BatchFooter) -> Overlap {
    let (first, end) = (segment.first_row, segment.first_row + segment.rows);
    for cover in &batch.covers {
        let Some((start, stop)) = cover.rows_of(segment.segment) else {
            continue;
        };
        return match stop {
            None if start <= first => Overlap::All,
            Some(stop) if stop <= first && first < end => Overlap::None,
            Some(stop) if start <= first && stop >= end => Overlap::All,
            Some(stop) if start <= first => Overlap::Head { from_row: stop },
            _ if start >= end => Overlap::None,
            _ => Overlap::Middle,
        };
    }
    Overlap::None
}

/// Two segments that hold the same rows though no batch explains it: somebody
/// put an old file back. The one that starts earlier is the older one.
fn overlapping(listing: &mut Listing) -> Vec<Repair> {
    let mut by_age: BTreeMap<Name, (Place, u64)> = BTreeMap::new();
    for (place, found) in listing.iter() {
        if let (Found::Segment(footer), Some(name)) = (found, Name::parse(&place.1)) {
            by_age.insert(name, (place.clone(), footer.first_row + footer.rows));
        }
    }
    let names: Vec<&Name> = by_age.keys().collect();
    let mut repairs = Vec::new();
    for pair in names.windows(2) {
        let [older, newer] = pair else { continue };
        let (
            Name::Segment { number: a, .. },
            Name::Segment {
                number: b,
                first_row,
            },
        ) = (older, newer)
        else {
            continue;
        };
        let (place, end) = &by_age[*older];
        if a == b && first_row < end {
            listing.remove(place);
            repairs.push(Repair::SetAside {
                place: place.clone(),
                fault: Fault::Overlap(newer.to_string()),
            });
        }
    }
    repairs
}

/// Undecodable messages whose segment was never sealed: Kafka will hand them
/// out again.
fn orphans(listing: &Listing, next_segment: u64) -> Vec<Repair> {
    listing
        .iter()
        .filter(|(_, found)| matches!(found, Found::Undecodable))
        .filter_map(|(place, _)| {
            let number = Name::parse(&place.1)?.number();
            let segment = Name::segment(number).to_string();
            let sealed = number < next_segment
                || [Room::Sealed, Room::Ready]
                    .iter()
                    .any(|room| listing.contains_key(&(*room, segment.clone())));
            (!sealed).then(|| Repair::Discard(place.clone()))
        })
        .collect()
}

fn batches(listing: &Listing) -> impl Iterator<Item = (&Place, &BatchFooter)> {
    listing.iter().filter_map(|(place, found)| match found {
        Found::Batch(footer) => Some((place, footer)),
        _ => None,
    })
}
