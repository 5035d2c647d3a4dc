//! The account at the end: every message that was produced is stored once in log and
//! totals, or kept where a person finds it with the reason beside it, or noted as lost
//! upstream, or somebody else's.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::Audit;
use super::files::{self, Files, Kept, Range};
use crate::broker::Topic;
use crate::clickhouse::sha256;
use crate::disk::SPOOL;
use crate::messages::{Kind, MessageId};
use crate::violations::Rule;

/// Breaches that are told of one life.
const TOLD_MAX: usize = 20;

/// What became of a life's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub messages: u64,
    /// Once in log and totals.
    pub stored: u64,
    /// In `rejected/`, `doubtful/` or `undecodable/`.
    pub kept: u64,
    /// Noted as lost upstream.
    pub in_gaps: u64,
    /// Another consumer's.
    pub elsewhere: u64,
    /// From before our first assignment; gone with their topic before they were read; or
    /// taken by retention before they were read, which the next start notes.
    pub not_ours: u64,
    /// Nowhere.
    pub lost: u64,
    /// More than once.
    pub duplicated: u64,
    /// Offsets that `gaps.jsonl` names more than once: a crash between the line and the
    /// position behind it.
    pub gaps_repeated: u64,
}

/// What holds rows: an insert that is stored, a file, or both under one token.
#[derive(Debug)]
struct Holding {
    /// Token or path.
    name: String,
    is_stored: bool,
    is_kept: bool,
    is_doubtful: bool,
    /// The server forgot its token: README's edge.
    is_forgotten: bool,
    /// It was being filled while the topic was created anew: what is of the new one is read
    /// again from there.
    filled_from: Option<u32>,
}

/// Everybody who holds anything.
#[derive(Default)]
struct Held {
    holdings: Vec<Holding>,
    records: HashMap<u64, Vec<usize>>,
    undecodable: HashMap<MessageId, u32>,
    gaps: Vec<Range>,
    forgotten: Vec<Range>,
    /// What is read next, by `spool.json`.
    positions: BTreeMap<(u32, i32), i64>,
}

impl Audit {
    /// Balances the account of a life whose spool has drained and whose process is gone.
    pub fn balance(&self, files: &Files) -> Account {
        let topics = self.parts.kafka.topics();
        let mut told = 0;
        let mut tell = |what: String| {
            told += 1;
            if told <= TOLD_MAX {
                self.parts.violations.report(Rule::Balance, what);
            }
        };
        let held = self.look(files, &topics, &mut tell);
        let mut account = Account {
            gaps_repeated: repeated(&held.gaps),
            ..Account::default()
        };
        let elsewhere = self.parts.kafka.taken_elsewhere();
        for topic in &topics {
            for id in topic.messages() {
                account.messages += 1;
                let is_elsewhere = elsewhere.contains(&id);
                let done = match id.kind() {
                    Kind::Record => self.judge_record(id, topic, &held, is_elsewhere),
                    _ => self.judge_undecodable(id, topic, &held, is_elsewhere),
                };
                match done {
                    Ok(place) => *account.place(place) += 1,
                    Err((place, what)) => {
                        *account.place(place) += 1;
                        tell(what);
                    }
                }
            }
        }
        account
    }

    /// Who holds what.
    fn look(&self, files: &Files, topics: &[Topic], tell: &mut impl FnMut(String)) -> Held {
        let state = files.get(&Path::new(SPOOL).join("spool.json"));
        let mut held = Held {
            gaps: files::gaps(files),
            forgotten: files::forgotten(files),
            positions: state
                .map(|bytes| files::positions(bytes))
                .unwrap_or_default(),
            ..Held::default()
        };
        let mut by_token = HashMap::new();
        for (token, content) in self.parts.clickhouse.tokens() {
            by_token.insert(token.clone(), held.holdings.len());
            for record in content.days.values().flatten() {
                held.records
                    .entry(*record)
                    .or_default()
                    .push(held.holdings.len());
            }
            held.holdings.push(Holding {
                is_stored: true,
                is_kept: false,
                is_doubtful: false,
                is_forgotten: self.parts.clickhouse.has_forgotten(&token),
                filled_from: None,
                name: token,
            });
        }
        for (path, bytes) in files.iter().filter(|(path, _)| files::is_published(path)) {
            let (directory, name) = (files::directory(path), files::name(path));
            if name.ends_with(".json") {
                continue;
            }
            let Some(content) = files::content(bytes) else {
                if directory != "doubtful" {
                    tell(format!("{} is broken", path.display()));
                }
                continue;
            };
            let reason = reason(files, directory, name);
            match directory {
                "undecodable" => {}
                "rejected" | "doubtful" if reason.is_some() => {}
                "rejected" | "doubtful" => {
                    tell(format!("{}: no reason lies beside it", path.display()))
                }
                _ => tell(format!("{} was left there", path.display())),
            }
            for kept in &content.undecodable {
                match true_id(kept, topics) {
                    // What came from the new topic was read again from there.
                    Some(id) if id != kept.id => {}
                    Some(id) => *held.undecodable.entry(id).or_default() += 1,
                    None => tell(format!("{}: {} was not produced", path.display(), kept.id)),
                }
            }
            if content.records.is_empty() {
                continue;
            }
            let is_doubtful = directory == "doubtful";
            let known = files::token(path).and_then(|token| by_token.get(token));
            if let Some(known) = known {
                held.holdings[*known].is_kept = true;
                held.holdings[*known].is_doubtful |= is_doubtful;
                continue;
            }
            let is_of_two = reason.is_some_and(|reason| reason.contains("created anew"));
            for record in &content.records {
                held.records
                    .entry(*record)
                    .or_default()
                    .push(held.holdings.len());
            }
            held.holdings.push(Holding {
                name: format!("{directory}/{name}"),
                is_stored: false,
                is_kept: true,
                is_doubtful,
                is_forgotten: false,
                filled_from: content.incarnation.filter(|_| is_of_two),
            });
        }
        held
    }

    fn is_repeated(&self, id: MessageId) -> bool {
        self.state().repeated.iter().any(|range| range.holds(id))
    }

    /// Whether a message that is nowhere need not be anywhere.
    fn is_not_ours(&self, id: MessageId, topic: &Topic, held: &Held) -> bool {
        let kafka = &self.parts.kafka;
        let key = (id.incarnation, id.partition);
        let is_gone = topic.is_deleted && id.offset >= kafka.furthest_commit(key.0, key.1);
        let position = held.positions.get(&key);
        let is_unread = position.is_some_and(|position| id.offset >= *position);
        let is_taken = topic
            .logs
            .get(&id.partition)
            .is_some_and(|log| id.offset < log.start);
        is_gone || is_unread && is_taken || id.offset < kafka.begun_at(key.0, key.1)
    }

    fn judge_record(
        &self,
        id: MessageId,
        topic: &Topic,
        held: &Held,
        is_elsewhere: bool,
    ) -> Judged {
        let record = id.resource_id();
        let count = self.parts.clickhouse.count(record);
        let holdings: Vec<&Holding> = held
            .records
            .get(&record)
            .into_iter()
            .flatten()
            .map(|holding| &held.holdings[*holding])
            .filter(|holding| {
                holding
                    .filled_from
                    .is_none_or(|from| from == id.incarnation)
            })
            .collect();
        let is_in_gap = held.gaps.iter().any(|gap| gap.holds(id));
        let names = || {
            let names = holdings.iter().map(|holding| holding.name.as_str());
            format!(
                "{id}: {} times in the log, {} in totals, held by {:?}, in a gap: {is_in_gap}, elsewhere: {is_elsewhere}",
                count.log,
                count.totals,
                names.collect::<Vec<_>>()
            )
        };
        let times = holdings.len() + usize::from(is_in_gap);
        if is_elsewhere {
            // Both have it only where no rule could tell, and says so.
            let is_right = holdings
                .iter()
                .all(|holding| holding.is_doubtful && !holding.is_stored);
            return match is_right || self.is_repeated(id) {
                true => Ok(Place::Elsewhere),
                false => Err((Place::Duplicated, names())),
            };
        }
        if times == 0 {
            return match self.is_not_ours(id, topic, held) {
                true => Ok(Place::NotOurs),
                false => Err((Place::Lost, names())),
            };
        }
        if self.is_repeated(id) {
            return Ok(Place::Stored);
        }
        if times > 1 {
            return Err((Place::Duplicated, names()));
        }
        let Some(holding) = holdings.first() else {
            return Ok(Place::Gap);
        };
        let most = 1 + u32::from(holding.is_forgotten);
        if count.log > most || count.totals > most {
            Err((Place::Duplicated, names()))
        } else if count.log > 0 && count.totals > 0 && holding.is_stored {
            Ok(Place::Stored)
        } else if holding.is_kept {
            Ok(Place::Kept)
        } else {
            Err((Place::Lost, names()))
        }
    }

    fn judge_undecodable(
        &self,
        id: MessageId,
        topic: &Topic,
        held: &Held,
        is_elsewhere: bool,
    ) -> Judged {
        let kept = held.undecodable.get(&id).copied().unwrap_or(0);
        // A file that went whole leaves the range of its messages.
        let was_dropped = kept == 0 && held.forgotten.iter().any(|range| range.holds(id));
        let is_in_gap = held.gaps.iter().any(|gap| gap.holds(id));
        let times = kept + u32::from(was_dropped) + u32::from(is_in_gap);
        let what = || {
            format!(
                "undecodable {id}: kept {kept} times, dropped: {was_dropped}, in a gap: {is_in_gap}, elsewhere: {is_elsewhere}"
            )
        };
        match times {
            _ if self.is_repeated(id) && times > 0 => Ok(Place::Kept),
            0 | 1 if is_elsewhere => Ok(Place::Elsewhere),
            0 if self.is_not_ours(id, topic, held) => Ok(Place::NotOurs),
            0 => Err((Place::Lost, what())),
            1 if is_in_gap => Ok(Place::Gap),
            1 => Ok(Place::Kept),
            _ => Err((Place::Duplicated, what())),
        }
    }
}

/// Where a message counts.
#[derive(Clone, Copy, Debug)]
enum Place {
    Stored,
    Kept,
    Gap,
    Elsewhere,
    NotOurs,
    Lost,
    Duplicated,
}

/// Where a message is, or where it counts and what is wrong.
type Judged = Result<Place, (Place, String)>;

impl Account {
    fn place(&mut self, place: Place) -> &mut u64 {
        match place {
            Place::Stored => &mut self.stored,
            Place::Kept => &mut self.kept,
            Place::Gap => &mut self.in_gaps,
            Place::Elsewhere => &mut self.elsewhere,
            Place::NotOurs => &mut self.not_ours,
            Place::Lost => &mut self.lost,
            Place::Duplicated => &mut self.duplicated,
        }
    }
}

/// What lies beside a file and says why it is there.
fn reason(files: &Files, directory: &str, name: &str) -> Option<String> {
    let stem = name.strip_suffix(".parquet").unwrap_or(name);
    let kind = match directory {
        "rejected" => "error",
        _ => "reason",
    };
    let beside = Path::new(SPOOL).join(directory);
    let bytes = files.get(&beside.join(format!("{stem}.{kind}.json")))?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

/// The message that was kept, which may be of another incarnation than its file says: of
/// the topic that had just been created anew.
fn true_id(kept: &Kept, topics: &[Topic]) -> Option<MessageId> {
    let named = topics
        .iter()
        .filter(|topic| topic.incarnation == kept.id.incarnation);
    let others = topics
        .iter()
        .filter(|topic| topic.incarnation > kept.id.incarnation);
    let candidates = named.chain(others).map(|topic| MessageId {
        incarnation: topic.incarnation,
        ..kept.id
    });
    candidates.into_iter().find(|id| {
        if id.kind() != Kind::Undecodable {
            return false;
        }
        let made = id.make();
        let payload = made.payload.as_deref().unwrap_or_default();
        let is_whole = kept.payload.as_ref().is_none_or(|kept| kept == payload);
        is_whole && kept.length == payload.len() as u64 && kept.sha256 == sha256(payload)
    })
}

/// How many offsets are named by more than one line.
fn repeated(gaps: &[Range]) -> u64 {
    let mut named: BTreeMap<(u32, i32, i64), u64> = BTreeMap::new();
    for gap in gaps {
        for offset in gap.from..gap.to {
            *named
                .entry((gap.incarnation, gap.partition, offset))
                .or_default() += 1;
        }
    }
    named.values().map(|times| times - 1).sum()
}
