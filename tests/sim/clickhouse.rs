//! A model of ClickHouse: the log, the totals that a view fills from it, and the memory of
//! tokens by which both know an insert again.
//!
//! An insert reads the real Parquet body. It makes one block per day, and each table
//! remembers (token, day) within its window; so an insert that failed half way is completed
//! by the next attempt, and one that went through changes nothing more. An insert that was
//! begun goes on, whoever has stopped waiting for it.
//!
//! Every request is held against what a server may expect, and noted if it is otherwise.

mod answer;
mod body;
mod insert;
mod table;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use spoolhouse::spool::format::schema::LOG_COLUMNS;
use spoolhouse::upload::outcome::{Answer, error_codes};
use url::Url;

use crate::scheduler::{self, draw, fault};
use crate::violations::{Rule, Violations};

pub use body::{Content, content, sha256};
use insert::{Extent, Running};
use table::Table;

/// What becomes of an insert, and which exception tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InsertFault {
    /// Before a row is written.
    Refused(u16),
    /// The Parquet reader gives up.
    Unreadable(u16),
    /// The first day has its block, the others don't.
    Halfway(u16),
    /// The log has all of it, the totals nothing.
    InView(u16),
    /// All of it is stored.
    After(u16),
    /// All of it is stored; a 200 had begun before the exception.
    MidStream(u16),
    /// It takes so much longer.
    Slow(Duration),
}

impl InsertFault {
    /// As it can be: an exception that is raised before the first row leaves nothing behind.
    fn possible(self) -> Self {
        match self {
            Self::Halfway(code)
            | Self::InView(code)
            | Self::After(code)
            | Self::MidStream(code)
                if error_codes::lookup(code).is_some_and(|code| code.nothing_stored) =>
            {
                Self::Refused(code)
            }
            possible => possible,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Refused(_) => "insert refused",
            Self::Unreadable(_) => "insert unreadable",
            Self::Halfway(_) => "insert stopped half way",
            Self::InView(_) => "view threw",
            Self::After(_) => "exception after the insert",
            Self::MidStream(_) => "exception in a 200",
            Self::Slow(_) => "insert slow",
        }
    }
}

/// How much of a batch is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    Nothing,
    Partly,
    Wholly,
}

/// How often a record is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub log: u32,
    pub totals: u32,
}

struct State {
    log: Table,
    totals: Table,
    counts: HashMap<u64, Count>,
    contents: HashMap<String, Arc<Content>>,
    /// Query and settings that a token came with first.
    frozen: HashMap<String, BTreeMap<String, String>>,
    running: BTreeMap<u64, Running>,
    answers: BTreeMap<u64, Option<Answer>>,
    next_run: u64,
    faults: VecDeque<InsertFault>,
    /// An exception that meets every insert until somebody mends it.
    standing: Option<InsertFault>,
    /// Records that no table takes.
    poisoned: BTreeSet<u64>,
    /// Settings that the server does not know.
    lacks: BTreeSet<String>,
    /// Tokens that a power cut made it forget.
    forgotten: BTreeSet<String>,
    down_until: Duration,
}

/// The server. Clones are the same one.
#[derive(Clone)]
pub struct ClickHouse {
    state: Arc<Mutex<State>>,
    violations: Violations,
}

impl fmt::Debug for ClickHouse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClickHouse")
    }
}

impl ClickHouse {
    /// A server whose tables remember so many blocks each; 0: none.
    pub fn new(window: usize, violations: Violations) -> Self {
        let state = State {
            log: Table::new(window),
            totals: Table::new(window),
            counts: HashMap::new(),
            contents: HashMap::new(),
            frozen: HashMap::new(),
            running: BTreeMap::new(),
            answers: BTreeMap::new(),
            next_run: 0,
            faults: VecDeque::new(),
            standing: None,
            poisoned: BTreeSet::new(),
            lacks: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            down_until: Duration::ZERO,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            violations,
        }
    }

    /// What it is now, every insert that is due included.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.catch_up(scheduler::now());
        state
    }

    /// The next `count` inserts meet this.
    pub fn fail_inserts(&self, count: usize, fault: InsertFault) {
        self.state().faults.extend(vec![fault; count]);
    }

    /// Every insert meets this until [`Self::heal`].
    pub fn break_down(&self, fault: InsertFault) {
        self.state().standing = Some(fault);
    }

    /// No table takes this record (code 469), however often it comes.
    pub fn poison(&self, record: u64) {
        self.state().poisoned.insert(record);
    }

    /// The server does not know this setting.
    pub fn lack_setting(&self, name: &str) {
        self.state().lacks.insert(name.to_owned());
    }

    /// Nobody reaches it for this time.
    pub fn go_down(&self, time: Duration) {
        self.state().down_until = scheduler::now() + time;
    }

    pub fn is_down(&self) -> bool {
        self.state().down_until > scheduler::now()
    }

    /// It starts anew. What runs ends somewhere, and is answered to nobody; the tables and
    /// their memory are as they were.
    pub fn restart(&self) {
        let state = &mut *self.state();
        for (id, mut running) in std::mem::take(&mut state.running) {
            let reached = [Extent::Nothing, Extent::FirstDay, Extent::Log, Extent::All];
            running.extent = running.extent.min(reached[draw(4) as usize]);
            state.store(&running);
            state.answers.insert(id, None);
        }
    }

    /// Its machine loses power: besides, each table forgets the last `tokens` blocks that it
    /// knew, since MergeTree does not sync them. Whatever was posted under those tokens may
    /// be there twice after a retry; README says so.
    pub fn cut_power(&self, tokens: usize) {
        self.restart();
        let state = &mut *self.state();
        let mut forgotten = state.log.forget(tokens);
        forgotten.extend(state.totals.forget(tokens));
        state.forgotten.extend(forgotten);
    }

    /// No fault lies in wait any more. Records that no table takes stay so.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.standing = None;
        state.lacks.clear();
        state.down_until = Duration::ZERO;
    }

    /// How often a record is stored.
    pub fn count(&self, record: u64) -> Count {
        self.state()
            .counts
            .get(&record)
            .copied()
            .unwrap_or_default()
    }

    /// How much of a batch is stored.
    pub fn stored(&self, token: &str) -> Stored {
        let state = self.state();
        let Some(content) = state.contents.get(token) else {
            return Stored::Nothing;
        };
        let blocks = state.log.blocks(token) + state.totals.blocks(token);
        match blocks {
            0 => Stored::Nothing,
            blocks if blocks >= 2 * content.days.len() => Stored::Wholly,
            _ => Stored::Partly,
        }
    }

    /// What came under each token of which anything is stored.
    pub fn tokens(&self) -> Vec<(String, Arc<Content>)> {
        let state = self.state();
        let any = |token: &String| state.log.blocks(token) + state.totals.blocks(token) > 0;
        let stored = state.contents.iter().filter(|(token, _)| any(token));
        let mut stored: Vec<_> = stored
            .map(|(token, content)| (token.clone(), content.clone()))
            .collect();
        stored.sort_by(|a, b| a.0.cmp(&b.0));
        stored
    }

    /// Whether a power cut of the server made it forget this token.
    pub fn has_forgotten(&self, token: &str) -> bool {
        self.state().forgotten.contains(token)
    }

    /// Whether an insert runs.
    pub fn is_inserting(&self) -> bool {
        !self.state().running.is_empty()
    }

    /// A request has arrived, whole, at this time. It is answered under the number that
    /// this gives.
    pub fn begin(&self, url: &Url, body: &Bytes, at: Duration) -> u64 {
        let mut pairs: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        let token = pairs
            .remove("insert_deduplication_token")
            .unwrap_or_default();
        let query_id = pairs.remove("query_id").unwrap_or_default();
        let content = self.check_request(&token, &query_id, &pairs, body);
        let state = &mut *self.state();
        let wrong = state.look_at(&token, &query_id, &pairs);
        let met = match wrong {
            Some(wrong) => Some(wrong),
            None => state.standing.or_else(|| state.faults.pop_front()),
        };
        let met = met.map(InsertFault::possible);
        if let Some(met) = met {
            fault(met.name());
        }
        let is_poisoned = content
            .days
            .values()
            .flatten()
            .any(|id| state.poisoned.contains(id));
        let (extent, answer) = match met {
            Some(met) if !matches!(met, InsertFault::Slow(_)) => answer::of_fault(met, &query_id),
            _ if is_poisoned => answer::of_fault(InsertFault::Refused(469), &query_id),
            _ => (Extent::All, answer::success(&query_id, content.rows)),
        };
        let slow = match met {
            Some(InsertFault::Slow(time)) => time,
            _ => Duration::ZERO,
        };
        let takes = match extent {
            Extent::Nothing => Duration::from_millis(1),
            _ => Duration::from_millis(5 + draw(60)) + slow,
        };
        state.contents.insert(token.clone(), content);
        let run = state.next_run;
        state.next_run += 1;
        let running = Running {
            token,
            query_id,
            settings: pairs,
            extent,
            done_at: at + takes,
            answer,
        };
        state.running.insert(run, running);
        run
    }

    /// When an insert will be done, unless it is.
    pub fn done_at(&self, run: u64) -> Option<Duration> {
        Some(self.state().running.get(&run)?.done_at)
    }

    /// An insert takes so much longer.
    pub fn delay(&self, run: u64, time: Duration) {
        if let Some(running) = self.state().running.get_mut(&run) {
            running.done_at += time;
        }
    }

    /// The answer to an insert that is done; `None` if it ended with the server.
    pub fn answer(&self, run: u64) -> Option<Answer> {
        self.state().answers.remove(&run).flatten()
    }

    /// What can be told from a request alone.
    fn check_request(
        &self,
        token: &str,
        query_id: &str,
        pairs: &BTreeMap<String, String>,
        body: &Bytes,
    ) -> Arc<Content> {
        let report = |rule, what: String| self.violations.report(rule, format!("{token}: {what}"));
        if sha256(body) != token {
            report(
                Rule::TokenReused,
                "the token is not the hash of the body".to_owned(),
            );
        }
        if query_id != format!("spoolhouse-{token}") {
            report(Rule::Request, format!("its query id is {query_id}"));
        }
        let columns = LOG_COLUMNS.join(", ");
        let query = pairs.get("query").map_or("", String::as_str);
        let is_insert = query.starts_with("INSERT INTO ")
            && query.contains(&format!("({columns})"))
            && query.ends_with("FORMAT Parquet");
        if !is_insert {
            report(Rule::Request, format!("the statement is {query}"));
        }
        let content = content(token, body);
        for (rule, what) in &content.problems {
            report(*rule, what.clone());
        }
        if let Some(before) = self.state().frozen.insert(token.to_owned(), pairs.clone())
            && before != *pairs
        {
            report(
                Rule::TokenReused,
                format!("it came with {before:?}, and now with {pairs:?}"),
            );
        }
        content
    }
}

#[cfg(test)]
#[path = "clickhouse/tests.rs"]
pub mod tests;
