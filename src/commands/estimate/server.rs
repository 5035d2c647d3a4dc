//! Bytes per row of a live server instead of the fitted ones: one statement in one
//! request, through the proxy at its slot unless told otherwise.

use anyhow::{Result, anyhow, bail};

use super::super::{ConfigFile, Misuse, wiring};
use crate::commands::terminal::progress_bar;
use crate::config;
use crate::estimate::inputs::Live;
use crate::spool::layout::Layout;
use crate::spool::read_only::snapshot;
use crate::upload::outcome::{Outcome, Refusal};
use crate::upload::query;
use crate::upload::query::table_sizes;

/// Asks the server at `url`, with the rest of the configuration: at the slot of the
/// proxy, or at once if `direct`.
///
/// # Errors
/// [`Misuse`] for a URL that can't be one, and when the server gave no figures.
pub(super) fn ask(url: &str, direct: bool, config: &ConfigFile) -> Result<Live> {
    let url = config::target(url).map_err(|problem| Misuse(format!("--from: {problem}")))?;
    let mut loaded = config.load()?;
    let is_other = loaded.config.upload.url != url;
    loaded.config.upload.url = url;
    let layout = Layout::new(&loaded.config.spool.dir);
    let elsewhere = match (direct, is_other) {
        (true, _) => Some("it did not go through the proxy"),
        (_, true) => Some("upload.url is another one"),
        _ => None,
    };
    let options = wiring::upload_options(&loaded.config);
    let question = query::Question {
        statement: table_sizes::statement(&options.target),
        bytes: 0,
        read: table_sizes::read,
        at_slot: !direct,
        elsewhere,
    };
    let owner = snapshot::owner(&layout).unwrap_or_default();
    let mut countdown = progress_bar::countdown();
    match query::ask(
        &options,
        wiring::transport(&loaded.config),
        &layout,
        owner,
        question,
        &mut countdown,
    )
    .answer
    {
        Ok(sizes) => Live::of(sizes).map_err(|problem| anyhow!("--from: {problem}")),
        Err(outcome) => bail!("--from: {}", what_became(&outcome)),
    }
}

fn what_became(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Stored => "the answer holds no figures".to_owned(),
        Outcome::Throttled { .. } => {
            "the proxy let no request through: others take its slots".to_owned()
        }
        Outcome::TooLarge => "the proxy refuses even a small body (413)".to_owned(),
        Outcome::NotSent(reason) => format!("nothing could be sent: {reason}"),
        Outcome::Unknown(reason) => format!("no answer that can be used: {reason}"),
        Outcome::Refused(
            Refusal::Operator(reason) | Refusal::Format(reason) | Refusal::Data(reason),
        ) => format!("it refuses: {reason}"),
    }
}
