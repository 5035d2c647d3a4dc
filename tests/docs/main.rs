//! Is it true what is written down? The README and the help texts, the files under `ops/`
//! that others install, the schema in its three places, and which module may import which.
//! Nothing runs but the binary's help and the validators of others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that can't go on fails, and it lives by the system's clocks and files"
)]

mod alerts;
mod help_texts;
mod import_fences;
mod import_graph;
mod installed_files;
mod readme;
mod schema_agreement;
mod source_guide;
mod support;
