//! A table with a memory of tokens: `non_replicated_deduplication_window`.

use std::collections::{HashMap, HashSet, VecDeque};

/// A block is known again by its token and the table's partition, a day.
type Block = (String, u32);

#[derive(Debug)]
pub(super) struct Table {
    window: usize,
    remembered: VecDeque<Block>,
    known: HashSet<Block>,
    /// How many blocks are there, by token.
    blocks: HashMap<String, HashSet<u32>>,
}

impl Table {
    /// A table that remembers so many blocks.
    pub(super) fn new(window: usize) -> Self {
        Self {
            window,
            remembered: VecDeque::new(),
            known: HashSet::new(),
            blocks: HashMap::new(),
        }
    }

    /// Takes a block in, unless it is known and `deduplicates`; whether it did.
    pub(super) fn take(&mut self, token: &str, day: u32, deduplicates: bool) -> bool {
        let block = (token.to_owned(), day);
        if deduplicates && self.known.contains(&block) {
            return false;
        }
        self.blocks.entry(block.0.clone()).or_default().insert(day);
        if self.known.insert(block.clone()) {
            self.remembered.push_back(block);
        }
        while self.remembered.len() > self.window {
            if let Some(oldest) = self.remembered.pop_front() {
                self.known.remove(&oldest);
            }
        }
        true
    }

    /// Forgets the last blocks that it knew; their tokens.
    pub(super) fn forget(&mut self, blocks: usize) -> Vec<String> {
        let from = self.remembered.len().saturating_sub(blocks);
        let forgotten: Vec<Block> = self.remembered.drain(from..).collect();
        forgotten.iter().for_each(|block| {
            self.known.remove(block);
        });
        forgotten.into_iter().map(|(token, _)| token).collect()
    }

    /// How many days of a batch are there.
    pub(super) fn blocks(&self, token: &str) -> usize {
        self.blocks.get(token).map_or(0, HashSet::len)
    }
}
