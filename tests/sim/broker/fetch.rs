//! What a client has fetched: positions, what is ahead of them, and what an assignment that
//! is gone has left over.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use spoolhouse::ingest::broker::Polled;

use super::State;
use super::membership::Inner;
use crate::messages::{Kind, Made, MessageId};
use crate::scheduler::{draw, fault, one_in};

/// The most that one poll gives out.
const BURST_MAX: u64 = 120;

/// Messages that are fetched ahead of a partition.
const AHEAD: usize = 200;

/// A message as the client holds it.
#[derive(Debug)]
pub struct Message {
    id: MessageId,
    made: Rc<Made>,
}

impl Message {
    pub(super) fn new(id: MessageId) -> Self {
        Self {
            id,
            made: id.make(),
        }
    }
}

impl spoolhouse::ingest::broker::Message for Message {
    fn partition(&self) -> i32 {
        self.id.partition
    }

    fn offset(&self) -> i64 {
        self.id.offset
    }

    fn payload(&self) -> Option<&[u8]> {
        self.made.payload.as_deref()
    }

    fn time_ms(&self) -> Option<i64> {
        Some(
            self.made
                .row
                .as_ref()
                .map_or(0, |row| i64::from(row.timestamp) * 1_000),
        )
    }
}

/// A partition that is being fetched.
#[derive(Debug)]
pub(super) struct Fetch {
    /// The next offset to give out.
    pub(super) position: i64,
    /// Given out last.
    last: Option<MessageId>,
    /// Fetched and not given out.
    pub(super) ahead: VecDeque<MessageId>,
    pub(super) end: Option<i64>,
    pub(super) is_paused: bool,
    /// Its position was outside the log: nothing more comes before it is assigned anew.
    pub(super) is_out: bool,
}

impl Fetch {
    pub(super) fn at(position: i64) -> Self {
        Self {
            position,
            last: None,
            ahead: VecDeque::new(),
            end: None,
            is_paused: false,
            is_out: false,
        }
    }

    pub(super) fn is_fetching(&self) -> bool {
        !self.is_paused && !self.is_out
    }
}

/// Fetches as far ahead as there is room.
pub(super) fn fetch_ahead(
    fetch: &mut Fetch,
    partition: i32,
    state: &State,
    polled: &mut Vec<Polled<Message>>,
) {
    let Some(topic) = state.topics.current() else {
        return;
    };
    let Some(log) = topic.logs.get(&partition) else {
        return;
    };
    fetch.end = Some(log.end);
    let next = fetch
        .ahead
        .back()
        .map_or(fetch.position, |last| last.offset + 1);
    if !(log.start..=log.end).contains(&next) {
        if fetch.ahead.is_empty() {
            fetch.is_out = true;
            polled.push(Polled::OutOfRange);
        }
        return;
    }
    let fresh = (next..log.end).map(|offset| topic.id(partition, offset));
    let free = AHEAD.saturating_sub(fetch.ahead.len());
    fetch
        .ahead
        .extend(fresh.filter(|id| id.kind() != Kind::Hole).take(free));
    if fetch.ahead.is_empty() {
        // Nothing but holes: the position moves over them.
        fetch.position = log.end;
    }
}

/// Gives out some of what was fetched.
pub(super) fn give_out(fetch: &mut Fetch, state: &mut State, polled: &mut Vec<Polled<Message>>) {
    for _ in 0..=draw(BURST_MAX) {
        let Some(id) = fetch.ahead.pop_front() else {
            return;
        };
        fetch.position = id.offset + 1;
        fetch.last = Some(id);
        if state.out_of_order > 0 {
            state.out_of_order -= 1;
            fault("message out of order");
            polled.push(Polled::OutOfOrder(id.partition));
        } else {
            polled.push(Polled::Message(Message::new(id)));
        }
    }
}

impl Inner {
    /// A few messages of the assignment that ends are still on their way. Only ones from
    /// before the new positions: librdkafka numbers assignments and drops the others.
    pub(super) fn leave_over(&mut self, starts: &BTreeMap<i32, i64>) {
        if !one_in(3) {
            return;
        }
        for (partition, fetch) in &self.fetches {
            let is_past =
                |id: &&MessageId| starts.get(partition).is_none_or(|start| id.offset < *start);
            // The last one may even come twice.
            let late = fetch.last.iter().chain(fetch.ahead.iter());
            self.left_over.extend(late.filter(is_past).take(3));
        }
    }
}
