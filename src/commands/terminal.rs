//! What commands draw on a terminal: a bar or a countdown while something takes long,
//! and a whole screen that is shown again and again.
//!
//! Invariant: where there is no terminal nothing is drawn, and the terminal is left as
//! it was found. Knows what is shown only as text.

pub mod progress_bar;
pub mod screen;
