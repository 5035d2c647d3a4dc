//! What is drawn on stderr while something takes long, if that is a terminal.
//!
//! Invariant: the log goes there, too, and neither cuts through the other: for a
//! line of it the bars make way, and are drawn again below.

use std::io::{self, Write, stderr};
use std::sync::LazyLock;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::upload::query::Waiting;

/// All that is drawn at a time.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// A bar up to `length`, in a style of [`ProgressStyle::with_template`].
pub(crate) fn bar(length: u64, style: &str) -> ProgressBar {
    styled(ProgressBar::new(length), style)
}

/// Something that turns, in a style of [`ProgressStyle::with_template`].
pub(crate) fn spinner(style: &str) -> ProgressBar {
    styled(ProgressBar::new_spinner(), style)
}

/// Shows how the wait for the proxy's slot goes: a countdown, until it is over.
pub(crate) fn countdown() -> impl FnMut(Waiting) {
    let mut shown: Option<ProgressBar> = None;
    move |waiting| match waiting {
        Waiting::Left(left) => {
            let bar = shown.get_or_insert_with(|| spinner("{spinner} {msg}"));
            let seconds = left.as_millis().div_ceil(1000);
            bar.set_message(format!("waiting {seconds} s for the proxy's next slot"));
            bar.tick();
        }
        Waiting::Over => {
            if let Some(bar) = shown.take() {
                bar.finish_and_clear();
            }
        }
    }
}

fn styled(bar: ProgressBar, style: &str) -> ProgressBar {
    // A style that can't be read leaves the usual one.
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    BARS.add(bar)
}

/// Stderr, for the log.
#[derive(Debug)]
pub(crate) struct LogLines;

impl Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        BARS.suspend(|| stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        stderr().flush()
    }
}
