//! What happened, as text for people and as a number that tells two lives apart.

use std::fmt::{self, Write as _};
use std::time::Duration;

/// Lines that are kept of one life: its end is what matters.
const LINES_MAX: usize = 100_000;

/// A trace. Its hash covers every line, kept or not.
#[derive(Debug)]
pub(super) struct Trace {
    hash: Fnv,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(super) fn new(keep: bool) -> Self {
        Self {
            hash: Fnv::default(),
            lines: keep.then(Vec::new),
        }
    }

    pub(super) fn note(
        &mut self,
        now: Duration,
        actor: &str,
        kind: &str,
        details: fmt::Arguments<'_>,
    ) {
        let at = now.as_millis();
        // Writing into the hash never fails.
        let _ = writeln!(self.hash, "{at} {actor}: {kind} {details}");
        if let Some(lines) = &mut self.lines
            && lines.len() < LINES_MAX
        {
            lines.push(format!(
                "{:>9.3} {actor}: {kind} {details}",
                now.as_secs_f64()
            ));
        }
    }

    pub(super) fn into_parts(self) -> (u64, Vec<String>) {
        (self.hash.0, self.lines.unwrap_or_default())
    }
}

/// FNV-1a: the same for the same bytes, on every machine.
#[derive(Debug)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}
