//! What is asked of the server behind the proxy: all that an insert depends on, in
//! one request as large as a batch may be, so that the proxy's body limit shows, too.

use super::Subject;
use crate::upload::query;
use crate::upload::query::server_info::{self, Server};
use crate::upload::settings::Settings;

/// What was seen.
pub(super) type Seen = query::Seen<Server>;

/// Asks, at the next slot. `owner` is the process that owns the spool.
pub(super) fn ask(
    subject: &Subject<'_>,
    owner: Option<u32>,
    waiting: &mut dyn FnMut(query::Waiting),
) -> Seen {
    let options = &subject.upload;
    let question = query::Question {
        statement: server_info::statement(&options.target, &wanted(options.settings.clone())),
        bytes: options.pace.body_bytes_max,
        read: server_info::read,
        at_slot: true,
        elsewhere: None,
    };
    query::ask(
        options,
        (subject.transport)(),
        subject.layout,
        owner,
        question,
        waiting,
    )
}

/// Every setting that goes with an insert, and the token's.
fn wanted(mut settings: Settings) -> Settings {
    settings.insert("insert_deduplication_token".to_owned(), String::new());
    settings
}
