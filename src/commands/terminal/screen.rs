//! A terminal that shows one page, again and again, as `top` does. What was there
//! before comes back when the screen is dropped, whatever ended it.
//!
//! Where there is no terminal, pages follow each other.

use std::io::{self, IsTerminal, Stdin, Write, stdin, stdout};
use std::thread;
use std::time::{Duration, Instant};

use anstream::{AutoStream, ColorChoice, adapter};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

/// Another screen, no cursor, and what is too wide is cut off.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &[u8] = b"\x1b[?7h\x1b[?25h\x1b[?1049l";

/// A key is waited for in turns as long as this, in tenths of a second.
const TURN_DECISECONDS: u8 = 1;
const TURN: Duration = Duration::from_millis(100 * TURN_DECISECONDS as u64);

/// The screen.
#[derive(Debug)]
pub(crate) struct Screen {
    // Dropped after the terminal is left, so that what is typed stays unseen.
    keyboard: Option<Keyboard>,
    is_terminal: bool,
    is_coloured: bool,
}

/// What the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    GoOn,
    Leave,
}

impl Screen {
    /// Takes over standard output, if that is a terminal.
    ///
    /// # Errors
    /// The terminal's.
    pub fn open() -> io::Result<Self> {
        let is_terminal = stdout().is_terminal();
        if is_terminal {
            put(ENTER)?;
        }
        Ok(Self {
            is_terminal,
            is_coloured: AutoStream::choice(&stdout()) != ColorChoice::Never,
            keyboard: is_terminal.then(Keyboard::open).flatten(),
        })
    }

    /// No terminal: pages follow each other as they are.
    pub fn none() -> Self {
        Self {
            is_terminal: false,
            is_coloured: false,
            keyboard: None,
        }
    }

    /// Shows a page in place of the last one: as much of it as there is room for.
    ///
    /// # Errors
    /// The terminal's.
    pub fn show(&self, page: &[u8]) -> io::Result<()> {
        let stripped;
        let page = if self.is_coloured {
            page
        } else {
            stripped = adapter::strip_bytes(page).into_vec();
            &stripped[..]
        };
        if !self.is_terminal {
            return put(page);
        }
        let rows = tcgetwinsize(stdout()).map_or(24, |size| size.ws_row);
        put(&placed(page, usize::from(rows)))
    }

    /// Waits for so long, or until the user wants to leave or `stopped` says so.
    pub fn wait(&self, time: Duration, stopped: impl Fn() -> bool) -> Wish {
        let due = Instant::now() + time;
        loop {
            if stopped() {
                return Wish::Leave;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Wish::GoOn;
            }
            match &self.keyboard {
                None => thread::sleep(left.min(TURN)),
                Some(keyboard) if keyboard.wants_to_leave() => return Wish::Leave,
                Some(_) => {}
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.is_terminal {
            // Whatever it is, there is nobody to tell any more.
            let _ = put(LEAVE);
        }
    }
}

fn put(bytes: &[u8]) -> io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// A page as it is drawn over another: line by line, without a flicker, and never
/// so much that the screen scrolls.
fn placed(page: &[u8], rows: usize) -> Vec<u8> {
    let mut drawn = b"\x1b[H".to_vec();
    for (row, line) in page.split(|byte| *byte == b'\n').take(rows).enumerate() {
        if row > 0 {
            drawn.extend(b"\r\n");
        }
        drawn.extend(line);
        drawn.extend(b"\x1b[0m\x1b[K");
    }
    drawn.extend(b"\x1b[J");
    drawn
}

/// A keyboard whose keys come one by one and are not shown.
#[derive(Debug)]
struct Keyboard {
    keys: Stdin,
    before: Termios,
}

impl Keyboard {
    /// `None` if standard input is no terminal, or not ours.
    fn open() -> Option<Self> {
        let keys = stdin();
        let before = tcgetattr(&keys).ok()?;
        let mut modes = before.clone();
        modes
            .local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO);
        modes.special_codes[SpecialCodeIndex::VMIN] = 0;
        modes.special_codes[SpecialCodeIndex::VTIME] = TURN_DECISECONDS;
        tcsetattr(&keys, OptionalActions::Now, &modes).ok()?;
        Some(Self { keys, before })
    }

    /// Waits for a key, at most a turn.
    fn wants_to_leave(&self) -> bool {
        let begun = Instant::now();
        let mut key = [0];
        match rustix::io::read(&self.keys, &mut key) {
            Ok(1..) => key[0].eq_ignore_ascii_case(&b'q'),
            Ok(_) => {
                // A terminal that went away has nothing at once, for ever.
                thread::sleep((TURN / 2).saturating_sub(begun.elapsed()));
                false
            }
            Err(rustix::io::Errno::INTR) => false,
            Err(_) => true,
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.keys, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_never_scrolls_and_clears_what_is_left_of_the_last() {
        let drawn = |rows| String::from_utf8(placed(b"one\ntwo\nthree\n", rows)).unwrap();
        assert_eq!(drawn(2), "\x1b[Hone\x1b[0m\x1b[K\r\ntwo\x1b[0m\x1b[K\x1b[J");
        assert_eq!(drawn(9).matches("\r\n").count(), 3);
    }
}
