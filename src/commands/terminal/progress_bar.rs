//! What is drawn on stderr while something takes long, if that is a terminal.
//!
//! Invariant: the log goes there, too, and neither cuts through the other: for a
//! line of it the bars make way, and are drawn again below.

use std::io::{self, Write, stderr};
use std::sync::LazyLock;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

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
