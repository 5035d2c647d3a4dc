//! What `--proxy` asks: all that an insert depends on, in one request as large as
//! a batch may be, so that the proxy's body limit shows, too.

use crate::commands::run;
use crate::config::Loaded;
use crate::spool::layout::Layout;
use crate::upload::inquire::{self, Server};
use crate::upload::query;
use crate::upload::settings::Settings;

/// What was seen.
pub(crate) type Seen = query::Seen<Server>;

/// Asks, at the next slot. `owner` is the process that owns the spool.
pub(crate) fn ask(loaded: &Loaded, layout: &Layout, owner: Option<u32>) -> Seen {
    let options = run::upload_options(&loaded.config);
    let question = query::Question {
        statement: inquire::statement(&options.target, &wanted(options.settings)),
        bytes: options.pace.body_bytes_max,
        read: inquire::read,
        at_slot: true,
        elsewhere: None,
    };
    query::ask(loaded, layout, owner, question)
}

/// Every setting that goes with an insert, and the token's.
fn wanted(mut settings: Settings) -> Settings {
    settings.insert("insert_deduplication_token".to_owned(), String::new());
    settings
}
