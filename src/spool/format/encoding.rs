//! Which encodings a batch keeps to: frozen with it, and configured for the next.

use serde::{Deserialize, Serialize};

/// Which encodings a batch may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// What makes the smallest file.
    #[default]
    Compact,
    /// PLAIN, RLE_DICTIONARY and ZSTD only, which the oldest servers read.
    Compatible,
}

impl Encoding {
    /// Whether it is [`Encoding::Compact`].
    pub fn is_compact(&self) -> bool {
        *self == Self::Compact
    }
}
