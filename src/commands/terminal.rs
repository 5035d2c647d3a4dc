//! What commands draw on a terminal.

pub(crate) mod progress_bar;
pub(crate) mod screen;
