//! What several files hold both. What a start clears up by rule is a note; what
//! no rule decides is a fault. A function from values to values.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::content::{Content, Says};
use super::problem::{Problem, finding};
use super::{Finding, Note};
use crate::spool::format::footer::{BatchFooter, Cover, OffsetRange, Source};
use crate::spool::layout::{Directory, Name};
use crate::spool::quarantine::Doubt;
use crate::spool::start::recovery_plan::{self, Found, Listing, Place, Repair};
use crate::spool::undecodable_replay::Origin;

/// Findings that concern more than one file.
#[derive(Debug, Default)]
pub(super) struct Crossing {
    pub faults: BTreeMap<Place, Vec<Finding>>,
    pub notes: BTreeSet<Note>,
}

impl Crossing {
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty() && self.notes.is_empty()
    }

    /// Keeps what was found in another look, too.
    pub fn retain_also_in(&mut self, other: &Self) {
        self.notes.retain(|note| other.notes.contains(note));
        self.faults.retain(|place, findings| {
            let again = other.faults.get(place);
            findings.retain(|finding| again.is_some_and(|again| again.contains(finding)));
            !findings.is_empty()
        });
    }

    fn fault(&mut self, place: &Place, problem: impl Into<Problem>) {
        let findings = self.faults.entry(place.clone()).or_default();
        findings.push(finding(place.0, &problem.into()));
    }

    fn note(&mut self, place: &Place, what: String) {
        self.notes.insert(Note {
            file: shown(place),
            what,
        });
    }
}

fn shown(place: &Place) -> String {
    format!("{}/{}", place.0.name(), place.1)
}

/// Compares files with each other. Those with faults of their own are left out.
pub(super) fn find(files: &BTreeMap<&Place, &Content>, next_segment: u64) -> Crossing {
    let mut crossing = Crossing::default();
    let sound: BTreeMap<&Place, &Says> = files
        .iter()
        .filter(|(_, content)| content.problems.is_empty())
        .map(|(place, content)| (*place, &content.says))
        .collect();
    let mut settled = repairs(&sound, next_segment, &mut crossing);
    settled.extend(replayed_twice(&sound, &mut crossing));
    let batches: Vec<(&Place, &BatchFooter)> = sound
        .iter()
        .filter(|(place, _)| !settled.contains(**place))
        .filter_map(|(place, says)| match says {
            Says::Batch(footer) => Some((*place, footer)),
            _ => None,
        })
        .collect();
    settled.extend(batch_overlaps(&batches, &mut crossing));
    claims(&sound, &settled, &mut crossing);
    crossing
}

/// What the next start would do: most of it finishes what was cut short.
fn repairs(
    sound: &BTreeMap<&Place, &Says>,
    next_segment: u64,
    crossing: &mut Crossing,
) -> HashSet<Place> {
    let digests: HashMap<u64, Option<&str>> = sound
        .iter()
        .filter_map(|(place, says)| match says {
            Says::Undecodable(digest) => {
                Some((Name::parse(&place.1)?.number(), Some(digest.as_str())))
            }
            _ => None,
        })
        .collect();
    let listing: Listing = sound
        .iter()
        .filter_map(|(place, says)| {
            let found = match says {
                Says::Segment(footer) => match &footer.replayed_from {
                    Some(from) if place.0 == Directory::Sealed => {
                        let origin = Origin::find(from, digests.get(&from.undecodable).copied());
                        Found::Replayed(footer.clone(), origin)
                    }
                    _ => Found::Segment(footer.clone()),
                },
                Says::Batch(footer) => Found::Batch(footer.clone()),
                Says::Undecodable(_) => Found::Undecodable,
                Says::Nothing => return None,
            };
            Some(((*place).clone(), found))
        })
        .collect();
    let mut settled = HashSet::new();
    for repair in recovery_plan::plan(listing, next_segment) {
        let place = match &repair {
            Repair::Discard(place) => {
                let what = "its segment was never sealed: a start discards it, and Kafka hands \
                            its messages out again";
                crossing.note(place, what.into());
                place
            }
            Repair::Redundant { place, by } => {
                let what = format!("{by} holds the same rows: a start removes this one");
                crossing.note(place, what);
                place
            }
            Repair::Release(place) => {
                crossing.note(place, "a start finishes its replay".into());
                continue;
            }
            Repair::Remainder { place, from_row } => {
                let what =
                    format!("a batch holds its rows up to {from_row}: a start removes those");
                crossing.note(place, what);
                place
            }
            Repair::SetAside { place, reason } => {
                crossing.fault(place, reason.clone());
                place
            }
        };
        settled.insert(place.clone());
    }
    settled
}

/// Undecodable messages whose replay waits to be sent, and a second segment of
/// the same replay.
fn replayed_twice(sound: &BTreeMap<&Place, &Says>, crossing: &mut Crossing) -> HashSet<Place> {
    let mut replays: HashMap<(u64, &str), (&Place, u64)> = HashMap::new();
    let mut twice = HashSet::new();
    for (place, says) in sound {
        let (Says::Segment(footer), Directory::Ready) = (says, place.0) else {
            continue;
        };
        let Some(from) = &footer.replayed_from else {
            continue;
        };
        let key = (from.undecodable, from.digest.as_str());
        let other = *replays.entry(key).or_insert((place, footer.segment));
        if other.1 != footer.segment {
            crossing.fault(place, Doubt::Overlap(other.0.1.clone()));
            twice.insert((*place).clone());
        }
    }
    for (place, says) in sound {
        let (Says::Undecodable(digest), Some(name)) = (says, Name::parse(&place.1)) else {
            continue;
        };
        if let Some((by, _)) = replays.get(&(name.number(), digest.as_str())) {
            crossing.fault(place, Doubt::Overlap(by.1.clone()));
        }
    }
    twice
}

/// Two batches that cover the same rows, unless they are parts of one.
fn batch_overlaps(batches: &[(&Place, &BatchFooter)], crossing: &mut Crossing) -> HashSet<Place> {
    let mut covers: Vec<(&Cover, usize)> = batches
        .iter()
        .enumerate()
        .flat_map(|(index, (_, footer))| footer.covers.iter().map(move |cover| (cover, index)))
        .collect();
    covers.sort_by_key(|(cover, _)| (cover.first, cover.first_row));
    let end = |cover: &Cover| (cover.last, cover.end_row.unwrap_or(u64::MAX));
    let mut overlapping = HashSet::new();
    let mut furthest: Option<(&Cover, usize)> = None;
    for (cover, index) in covers {
        if let Some((before, owner)) = furthest
            && (cover.first, cover.first_row) < end(before)
            && index != owner
            && !are_parts_of_one(batches[index].1, batches[owner].1)
            && overlapping.insert(batches[index].0.clone())
        {
            let other = &batches[owner].0.1;
            crossing.fault(batches[index].0, Doubt::Overlap(other.clone()));
        }
        if furthest.is_none_or(|(before, _)| end(cover) > end(before)) {
            furthest = Some((cover, index));
        }
    }
    overlapping
}

/// The parts of a split keep the covers and offsets of the whole, however often
/// it was split.
fn are_parts_of_one(a: &BatchFooter, b: &BatchFooter) -> bool {
    a.split_from.is_some()
        && b.split_from.is_some()
        && a.covers == b.covers
        && a.offsets == b.offsets
}

/// Offsets that two files which are both to be sent account for.
fn claims(sound: &BTreeMap<&Place, &Says>, settled: &HashSet<Place>, crossing: &mut Crossing) {
    let mut claims: HashMap<(&Source, i32), Vec<(OffsetRange, &Place)>> = HashMap::new();
    for (place, says) in sound {
        let is_to_be_sent = matches!(
            place.0,
            Directory::Sealed | Directory::Ready | Directory::Batches | Directory::Sending
        );
        if settled.contains(*place) || !is_to_be_sent {
            continue;
        }
        match says {
            Says::Segment(footer) => {
                for (partition, range) in &footer.offsets {
                    let claim = (*range, *place);
                    claims
                        .entry((&footer.source, *partition))
                        .or_default()
                        .push(claim);
                }
            }
            Says::Batch(footer) => {
                for (partition, ranges) in &footer.offsets {
                    claims
                        .entry((&footer.source, *partition))
                        .or_default()
                        .extend(ranges.iter().map(|range| (*range, *place)));
                }
            }
            Says::Undecodable(_) | Says::Nothing => {}
        }
    }
    for ((_, partition), mut claims) in claims {
        claims.sort_by_key(|(range, place)| (range.0, *place));
        let mut furthest: Option<(OffsetRange, &Place)> = None;
        for (range, place) in claims {
            if let Some((before, owner)) = furthest
                && range.0 < before.1
                && place != owner
                && !are_parts(sound, place, owner)
            {
                let claimed = Problem::Claimed {
                    partition,
                    from: range.0,
                    to: range.1.min(before.1) - 1,
                    by: shown(owner),
                };
                crossing.fault(place, claimed);
            }
            if furthest.is_none_or(|(before, _)| range.1 > before.1) {
                furthest = Some((range, place));
            }
        }
    }
}

fn are_parts(sound: &BTreeMap<&Place, &Says>, a: &Place, b: &Place) -> bool {
    match (sound.get(a), sound.get(b)) {
        (Some(Says::Batch(a)), Some(Says::Batch(b))) => are_parts_of_one(a, b),
        _ => false,
    }
}
