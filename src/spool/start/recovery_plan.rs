//! Turns a directory listing into repairs.
//!
//! Never invents an offset, never removes unsent data: it discards drafts that
//! were never published, removes rows only where a published batch or a twin
//! holds the same rows, finishes hand-overs that were cut short, and sets aside
//! what it doesn't understand. A function from values to values; `Spool::open`
//! reads the listing and carries the repairs out. Repairs are idempotent: a
//! crash among them leads to the same end.

use std::collections::BTreeMap;

use crate::spool::format::error::Fault;
use crate::spool::format::footer::{BatchFooter, Cover, SegmentFooter};
use crate::spool::layout::{Directory, Name};
use crate::spool::quarantine::Doubt;
use crate::spool::undecodable_replay::Origin;

/// What a file was found to be.
#[derive(Debug)]
pub enum Found {
    /// A draft that was never published.
    Draft,
    /// A segment whose footer holds.
    Segment(SegmentFooter),
    /// A segment in `sealed/` whose rows were undecodable messages before. No
    /// commit decides about it, but whether those messages are still kept.
    Replayed(SegmentFooter, Origin),
    /// A batch whose every byte was checked.
    Batch(BatchFooter),
    /// A file of undecodable messages, by its name.
    Undecodable,
    /// One that `doubtful/` holds as well, byte for byte.
    Aside,
    /// No file of ours, or no longer.
    Faulty(Fault),
}

/// A file's place: directory and name.
pub type Place = (Directory, String);

/// What the directory holds, by place: drafts in `open/` and everything that
/// carries or should carry one of our names in the other
/// directories.
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
        reason: Doubt,
    },
}

/// Plans the repairs of a spool whose `spool.json` gives `next_segment`.
pub fn plan(mut listing: Listing, next_segment: u64) -> Vec<Repair> {
    let mut repairs = Vec::new();
    let settled: Vec<Place> = listing
        .iter()
        .filter(|(_, found)| matches!(found, Found::Draft | Found::Aside | Found::Faulty(_)))
        .map(|(place, _)| place.clone())
        .collect();
    for place in settled {
        match listing.remove(&place) {
            Some(Found::Faulty(fault)) => repairs.push(Repair::SetAside {
                place,
                reason: fault.into(),
            }),
            Some(Found::Aside) => repairs.push(Repair::Redundant {
                by: format!("{}/{}", Directory::Doubtful.name(), place.1),
                place,
            }),
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
        (Directory::Sealed, Directory::Ready),
        (Directory::Batches, Directory::Sending),
        (Directory::Batches, Directory::Rejected),
        (Directory::Sending, Directory::Rejected),
    ];
    let mut repairs = Vec::new();
    for (behind, ahead) in further {
        let twins: Vec<Place> = listing
            .keys()
            .filter(|(directory, name)| {
                *directory == behind && listing.contains_key(&(ahead, name.clone()))
            })
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
        let Some(Found::Replayed(footer, origin)) = listing.remove(&place) else {
            continue;
        };
        let number = footer.replayed_from.map_or(0, |from| from.undecodable);
        let by = Name::Undecodable { number }.to_string();
        repairs.push(match origin {
            Origin::Still => Repair::Redundant { place, by },
            Origin::NoLonger => Repair::Release(place),
            Origin::Unknown => Repair::SetAside {
                place,
                reason: Doubt::ReplayUndecided(by),
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
    let covers = Covers::of(listing);
    let segments: Vec<(Place, SegmentFooter)> = listing
        .iter()
        .filter_map(|(place, found)| match found {
            Found::Segment(footer) => covers
                .of_segment(footer.segment)
                .next()
                .map(|_| (place.clone(), footer.clone())),
            _ => None,
        })
        .collect();
    for (place, footer) in segments {
        let Some(held) = held(&footer, &covers) else {
            continue;
        };
        listing.remove(&place);
        let end = footer.first_row + footer.rows;
        let rest = held.from_row.filter(|from_row| *from_row < end);
        let follower = rest.and_then(|from_row| follower(listing, footer.segment, from_row));
        repairs.push(match (held.from_row, follower) {
            (Some(from_row), _) if from_row >= end => Repair::Redundant { place, by: held.by },
            (Some(from_row), None) => Repair::Remainder { place, from_row },
            (Some(from_row), Some(first_row)) if first_row == from_row => {
                Repair::Redundant { place, by: held.by }
            }
            _ => Repair::SetAside {
                place,
                reason: Doubt::Overlap(held.by),
            },
        });
    }
    repairs
}

/// What published batches hold of a segment.
struct Covered {
    /// They hold its rows up to this one, and no other; absent: some row in
    /// front of a held one is in none of them.
    from_row: Option<u64>,
    /// The first of them.
    by: String,
}

/// What batches cover, found by segment: a spool holds very many of both.
struct Covers {
    /// By the number of their first segment, with the batch's name.
    by_first: BTreeMap<u64, Vec<(Cover, String)>>,
    /// How far the longest of them reaches beyond its first segment.
    span_max: u64,
}

impl Covers {
    fn of(listing: &Listing) -> Self {
        let mut covers = Self {
            by_first: BTreeMap::new(),
            span_max: 0,
        };
        for (place, batch) in batches(listing) {
            for cover in &batch.covers {
                let span = cover.last.saturating_sub(cover.first);
                covers.span_max = covers.span_max.max(span);
                let same = covers.by_first.entry(cover.first).or_default();
                same.push((*cover, place.1.clone()));
            }
        }
        covers
    }

    fn of_segment(&self, number: u64) -> impl Iterator<Item = &(Cover, String)> {
        let near = number.saturating_sub(self.span_max)..=number;
        let near = self.by_first.range(near).flat_map(|(_, covers)| covers);
        near.filter(move |(cover, _)| cover.rows_of(number).is_some())
    }
}

fn held(segment: &SegmentFooter, covers: &Covers) -> Option<Covered> {
    let (first, end) = (segment.first_row, segment.first_row + segment.rows);
    let mut parts: Vec<(u64, u64, &str)> = covers
        .of_segment(segment.segment)
        .filter_map(|(cover, name)| {
            let (start, stop) = cover.rows_of(segment.segment)?;
            let stop = stop.map_or(end, |stop| stop.min(end));
            (start.max(first) < stop).then_some((start.max(first), stop, name.as_str()))
        })
        .collect();
    parts.sort_unstable();
    let by = parts.first()?.2.to_owned();
    let mut from_row = Some(first);
    for (start, stop, _) in parts {
        from_row = from_row
            .filter(|row| start <= *row)
            .map(|row| row.max(stop));
    }
    Some(Covered { from_row, by })
}

/// First row of the next file of segment `number` that holds rows from
/// `from_row` on.
fn follower(listing: &Listing, number: u64, from_row: u64) -> Option<u64> {
    let firsts = listing.values().filter_map(|found| match found {
        Found::Segment(other) if other.segment == number => Some(other.first_row),
        _ => None,
    });
    firsts.filter(|first_row| *first_row >= from_row).min()
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
                reason: Doubt::Overlap(newer.to_string()),
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
                || [Directory::Sealed, Directory::Ready]
                    .iter()
                    .any(|directory| listing.contains_key(&(*directory, segment.clone())));
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
