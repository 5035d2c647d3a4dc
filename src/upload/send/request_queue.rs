//! The requests of the command line, as the send loop sees them: which one is
//! served, what is done for it, and what it is told.
//!
//! The oldest request is served until its answer is final, then the next. A
//! request that vanishes was withdrawn. Nothing here is remembered over a
//! restart: what is to be done follows from the request and from where the
//! files are.

use std::io;
use std::time::SystemTime;

use url::Url;
use uuid::Uuid;

use crate::spool::Outlet;
use crate::spool::inbox::{Answer, FORMAT, Request, State};
use crate::spool::outlet::Batch;
use crate::spool::outlet::{Declined, Leave, Wanted};
use crate::time::epoch_ms;
use crate::upload::outcome::{Outcome, Refusal};

/// A request that is open.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub id: Uuid,
    /// What it wants sent, or why that can't be.
    pub wanted: Result<Wanted, Declined>,
    /// Where to, if not where everything goes.
    pub to: Option<Url>,
    /// The next attempt does not wait for the slot.
    pub now: bool,
    /// Something was put in line for it.
    pub is_brought: bool,
    /// Rows that were stored for it.
    rows: u64,
    batch: Option<String>,
}

impl Served {
    fn new(id: Uuid, request: &Request) -> Self {
        let to = request.to.as_deref().map(target).transpose();
        let (to, wanted) = match to {
            Ok(to) => (to, Wanted::parse(&request.file, request.doubtful)),
            Err(declined) => (None, Err(declined)),
        };
        Self {
            id,
            wanted,
            to,
            now: request.now,
            is_brought: false,
            rows: 0,
            batch: None,
        }
    }

    /// How its file may be looked for.
    pub fn leave(&self) -> Leave {
        Leave {
            take_back: !self.is_brought,
            pass: self.to.is_some(),
        }
    }

    /// What it is told. When that is written down is the loop's to say.
    fn answer(&self, state: State, message: String, due: Option<SystemTime>) -> Answer {
        Answer {
            format: FORMAT,
            answered_at_ms: 0,
            state,
            message,
            batch: self.batch.clone(),
            rows: self.rows,
            due_ms: due.map(epoch_ms),
        }
    }
}

/// Reads where a request wants a file posted.
///
/// # Errors
/// What is wrong with the URL.
pub fn target(text: &str) -> Result<Url, Declined> {
    let declined = |why: String| Declined(format!("{text}: {why}"));
    let url = Url::parse(text).map_err(|error| declined(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(declined("it must begin with http:// or https://".into()));
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err(declined(
            "it must hold no query, no fragment and no user".into(),
        ));
    }
    Ok(url)
}

/// The open requests, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestQueue {
    open: Vec<Served>,
}

impl RequestQueue {
    /// Looks for new and withdrawn requests; whether there is a new one.
    pub fn look(&mut self, outlet: &Outlet, now: SystemTime) -> io::Result<bool> {
        let found = outlet.requests(epoch_ms(now))?;
        let mut any_new = false;
        let open = found.into_iter().map(|(id, request)| {
            let known = self.open.iter().position(|served| served.id == id);
            known.map_or_else(
                || {
                    any_new = true;
                    Served::new(id, &request)
                },
                |place| self.open[place].clone(),
            )
        });
        self.open = open.collect();
        Ok(any_new)
    }

    /// The request that is served.
    pub fn first(&self) -> Option<&Served> {
        self.open.first()
    }

    /// The request with this id, if it is still open.
    pub fn get(&mut self, id: Uuid) -> Option<&mut Served> {
        self.open.iter_mut().find(|served| served.id == id)
    }

    /// Says that a batch goes for a request, and when.
    pub fn waits(&mut self, id: Uuid, batch: &Batch, due: SystemTime) -> Option<(Uuid, Answer)> {
        let served = self.get(id)?;
        served.is_brought = true;
        served.batch = Some(batch.name());
        let message = format!(
            "{} ({} rows, {} bytes)",
            batch.name(),
            batch.footer.rows,
            batch.bytes.len()
        );
        Some((id, served.answer(State::Waiting, message, Some(due))))
    }

    /// Says that another batch goes first.
    pub fn waits_behind(
        &mut self,
        id: Uuid,
        batch: &Batch,
        due: SystemTime,
    ) -> Option<(Uuid, Answer)> {
        let served = self.get(id)?;
        let message = format!(
            "{} goes first: nobody knows whether it is stored",
            batch.name()
        );
        Some((id, served.answer(State::Waiting, message, Some(due))))
    }

    /// Says that something must pass before it goes on.
    pub fn waits_for(&mut self, id: Uuid, trouble: String) -> Option<(Uuid, Answer)> {
        let served = self.get(id)?;
        Some((id, served.answer(State::Waiting, trouble, None)))
    }

    /// What a request is told about an attempt at a batch that goes before it.
    pub fn attempted_before(
        &mut self,
        batch: &Batch,
        outcome: &Outcome,
        due: SystemTime,
    ) -> Option<(Uuid, Answer)> {
        let id = self.first().filter(|served| served.to.is_none())?.id;
        match outcome {
            Outcome::Stored => None,
            Outcome::Refused(Refusal::Operator(reason)) => {
                let message = format!(
                    "{}, which goes before it, was refused, and every other batch would be: {reason}",
                    batch.name()
                );
                self.ends(id, State::Kept, message)
            }
            _ => self.waits_behind(id, batch, due),
        }
    }

    /// Ends a request.
    pub fn ends(&mut self, id: Uuid, state: State, message: String) -> Option<(Uuid, Answer)> {
        let place = self.open.iter().position(|served| served.id == id)?;
        let served = self.open.remove(place);
        Some((id, served.answer(state, message, None)))
    }

    /// What a request is told when what it wants is nowhere in the spool.
    pub fn is_gone(&mut self, id: Uuid) -> Option<(Uuid, Answer)> {
        let rows = self.get(id)?.rows;
        let (state, message) = match rows {
            0 => (
                State::Gone,
                "it is not in the spool any more, and only what ClickHouse confirmed leaves it",
            ),
            _ => (State::Stored, "stored"),
        };
        self.ends(id, state, message.to_owned())
    }

    /// What a request is told about an attempt at its batch. `None` while
    /// nothing is to be said, or when the request was withdrawn.
    pub fn attempted(
        &mut self,
        id: Uuid,
        batch: &Batch,
        outcome: &Outcome,
        was_early: bool,
        due: SystemTime,
    ) -> Option<(Uuid, Answer)> {
        let is_copy = batch.is_copy();
        let served = self.get(id)?;
        let place = match is_copy {
            true => "the file is where it was",
            false => "it is kept in the spool and goes again",
        };
        let waiting = |message: String| Some((State::Waiting, message));
        let (state, message) = match outcome {
            Outcome::Stored => {
                served.rows += batch.footer.rows;
                // A segment may take more than one batch.
                if !is_copy {
                    return None;
                }
                Some((State::Stored, "stored".to_owned()))
            }
            Outcome::Throttled { .. } if was_early => Some((
                State::Kept,
                format!("the proxy's slot is not open yet; {place} (without --now it waits)"),
            )),
            Outcome::Throttled { .. } => waiting("the proxy's slot is not open yet".to_owned()),
            Outcome::NotSent(reason) if was_early => {
                Some((State::Kept, format!("not sent: {reason}; {place}")))
            }
            Outcome::NotSent(reason) => waiting(format!("not sent: {reason}")),
            Outcome::Unknown(reason) => waiting(format!("fate unknown: {reason}")),
            Outcome::TooLarge if is_copy => Some((
                State::Kept,
                format!("it is over the proxy's body limit; {place}"),
            )),
            // Split, or in doubt: the next look for it tells.
            Outcome::TooLarge => return None,
            Outcome::Refused(Refusal::Operator(reason)) => Some((
                State::Kept,
                format!("refused, and every other batch would be: {reason}; {place}"),
            )),
            Outcome::Refused(Refusal::Format(reason)) => Some((
                State::Kept,
                format!("the server can't read the file: {reason}; {place}"),
            )),
            Outcome::Refused(Refusal::Data(reason)) if is_copy => Some((
                State::Kept,
                format!("ClickHouse refused the data: {reason}; {place}"),
            )),
            Outcome::Refused(Refusal::Data(reason)) => {
                waiting(format!("ClickHouse refused the data: {reason}"))
            }
        }?;
        if state == State::Waiting {
            return Some((id, served.answer(state, message, Some(due))));
        }
        self.ends(id, state, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_a_plain_http_url_or_is_declined() {
        assert!(target("http://127.0.0.1:8123/clickhouse/").is_ok());
        for wrong in [
            "",
            "there",
            "ftp://there/",
            "http://",
            "http://there/?query=DROP%20TABLE%20t",
            "http://there/#x",
            "http://somebody:secret@there/",
        ] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }
}
