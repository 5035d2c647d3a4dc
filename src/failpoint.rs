//! Named steps at which a test can have the process killed.
//!
//! `FAILPOINT=<step>:<n>` ends `spoolhouse run` by SIGKILL when it comes to that
//! step for the n-th time: no destructor runs, nothing is flushed. That is all it
//! can do, and release builds can't even do that: there every call is empty and
//! asking for one is an error.
//!
//! Why not the crate `fail`: it can panic, and a panic unwinds, is caught by the
//! runtime and seals nothing like a crash does. It is also switched on by a
//! feature, which would make the tortured binary another one than the tested;
//! debug assertions tell the two builds apart without a second build.

use std::path::Path;
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use signal_hook::consts::SIGKILL;
use signal_hook::low_level::raise;

/// The environment variable that arms a step.
pub const VARIABLE: &str = "FAILPOINT";

/// Every step, in the order in which a record passes them. Steps on disk are
/// `<from>-<to>.<what was done>` with the names of the two rooms, or the file's
/// name where one file is replaced.
pub const STEPS: [&str; 35] = [
    "open-undecodable.written",
    "open-undecodable.renamed",
    "open-undecodable.target-synced",
    "open-undecodable.synced",
    "open-sealed.written",
    "open-sealed.renamed",
    "open-sealed.target-synced",
    "open-sealed.synced",
    "spool.json.written",
    "spool.json.renamed",
    "spool.json.synced",
    "commit.sent",
    "commit.acknowledged",
    "sealed-ready.renamed",
    "sealed-ready.target-synced",
    "sealed-ready.synced",
    "open-batches.written",
    "open-batches.renamed",
    "open-batches.target-synced",
    "open-batches.synced",
    "open-ready.written",
    "open-ready.renamed",
    "open-ready.target-synced",
    "open-ready.synced",
    "sources.one-unlinked",
    "sources.unlinked",
    "batches-sending.renamed",
    "batches-sending.target-synced",
    "batches-sending.synced",
    "pace.json.written",
    "pace.json.renamed",
    "pace.json.synced",
    "post.before",
    "post.answered",
    "batch.unlinked",
];

struct Armed {
    step: &'static str,
    hits_left: AtomicU32,
}

static ARMED: OnceLock<Armed> = OnceLock::new();

/// Arms what `wanted` says: `<step>` or `<step>:<n>`. Once in a process.
///
/// # Errors
/// A step that doesn't exist, a number that is none, or a release build.
pub fn arm(wanted: &str) -> Result<(), String> {
    if !cfg!(debug_assertions) {
        return Err(format!("{VARIABLE}: a release build has no fail points"));
    }
    let armed = parse(wanted)?;
    ARMED
        .set(armed)
        .map_err(|_| format!("{VARIABLE}: armed already"))
}

fn parse(wanted: &str) -> Result<Armed, String> {
    let (name, hits) = wanted.split_once(':').unwrap_or((wanted, "1"));
    let step = STEPS.into_iter().find(|step| *step == name);
    let step = step.ok_or_else(|| {
        let steps = STEPS.join("\n  ");
        format!("{VARIABLE}: there is no step {name:?}; the steps are\n  {steps}")
    })?;
    match hits.parse() {
        Ok(hits) if hits > 0 => Ok(Armed {
            step,
            hits_left: AtomicU32::new(hits),
        }),
        _ => Err(format!("{VARIABLE}: {hits:?} is no number of hits")),
    }
}

/// A step was come to.
pub fn hit(step: &str) {
    if cfg!(debug_assertions)
        && let Some(armed) = ARMED.get()
        && armed.step == step
        && armed.hits_left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        eprintln!("{VARIABLE}: killed at {step}");
        let _ = raise(SIGKILL);
        process::abort(); // never come to: SIGKILL can't be blocked
    }
}

/// A step of moving a file was come to.
pub fn hit_moving(from: &Path, to: &Path, done: &str) {
    if cfg!(debug_assertions) && ARMED.get().is_some() {
        let name = |path: Option<&Path>| {
            let name = path.and_then(Path::file_name).unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        let (source, target) = (from.parent(), to.parent());
        if source == target {
            hit(&format!("{}.{done}", name(Some(to))));
        } else {
            hit(&format!("{}-{}.{done}", name(source), name(target)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_armed_by_its_name_and_a_number_of_hits() {
        let armed = parse("spool.json.renamed:3").unwrap();
        assert_eq!(armed.step, "spool.json.renamed");
        assert_eq!(armed.hits_left.into_inner(), 3);
        assert_eq!(parse("post.before").unwrap().hits_left.into_inner(), 1);
    }

    #[test]
    fn what_can_never_strike_is_refused_and_the_steps_are_named() {
        for wanted in ["post.before:0", "post.before:x"] {
            assert!(parse(wanted).is_err(), "{wanted}");
        }
        let refusal = parse("?").err().unwrap();
        assert!(STEPS.iter().all(|step| refusal.contains(step)), "{refusal}");
    }
}
