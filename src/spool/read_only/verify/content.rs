//! What one file holds, and what is wrong with it: digest, footer, name, spool,
//! columns, every row's address and offset. Trusts nothing; keeps only what the
//! comparison between files needs.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use bytes::Bytes;
use uuid::Uuid;

use super::Kind;
use super::problem::Problem;
use crate::spool::disk::Entry;
use crate::spool::format::error::Fault;
use crate::spool::format::footer::{BatchFooter, Footer, OffsetRange, SegmentFooter};
use crate::spool::format::metadata;
use crate::spool::format::{digest, read, schema, undecodable};
use crate::spool::layout::{ByName, Directory, Name};
use crate::spool::start::recovery_plan::Place;

/// What is known of one file.
#[derive(Debug)]
pub(super) struct Content {
    pub kind: Kind,
    pub rows: Option<u64>,
    pub says: Says,
    pub problems: Vec<Problem>,
}

/// What a file's footer says, if it can be believed.
#[derive(Debug)]
pub(super) enum Says {
    Nothing,
    Segment(SegmentFooter),
    Batch(BatchFooter),
    /// The digest of a file of undecodable messages.
    Undecodable(String),
}

impl Content {
    fn nothing(kind: Kind) -> Self {
        Self {
            kind,
            rows: None,
            says: Says::Nothing,
            problems: Vec::new(),
        }
    }

    /// Offsets per partition that the file accounts for.
    pub fn offsets(&self) -> BTreeMap<i32, Vec<OffsetRange>> {
        match &self.says {
            Says::Segment(footer) => {
                let ranges = footer.offsets.iter();
                ranges.map(|(p, range)| (*p, vec![*range])).collect()
            }
            Says::Batch(footer) => footer.offsets.clone(),
            Says::Undecodable(_) | Says::Nothing => BTreeMap::new(),
        }
    }
}

/// Looks into one file; `None` if it is gone.
pub(super) fn examine(
    place: &Place,
    entry: &Entry,
    spool: Option<Uuid>,
    is_masked: &dyn Fn(&str) -> bool,
    read: impl FnOnce() -> Result<Option<Bytes>, Fault>,
) -> Option<Content> {
    let (directory, text) = place;
    if *directory == Directory::Doubtful {
        return Some(Content::nothing(Kind::SetAside));
    }
    let mut content = Content::nothing(Kind::Foreign);
    let name = match directory.look_up(text) {
        ByName::Draft if entry.is_file => return Some(Content::nothing(Kind::Draft)),
        ByName::Ours(name) if entry.is_file => name,
        ByName::Misplaced(name) if entry.is_file => {
            content.kind = kind_of(&name);
            content
                .problems
                .push(Fault::misplaced(&name, *directory).into());
            return Some(content);
        }
        _ => {
            content.problems.push(Fault::Foreign.into());
            return Some(content);
        }
    };
    content.kind = kind_of(&name);
    let looked_into = match read() {
        Ok(None) => return None,
        Ok(Some(bytes)) => into(&mut content, &name, bytes, spool, is_masked),
        Err(fault) => Err(fault),
    };
    content
        .problems
        .extend(looked_into.err().map(Problem::from));
    Some(content)
}

fn kind_of(name: &Name) -> Kind {
    match name {
        Name::Segment { .. } => Kind::Segment,
        Name::Batch { .. } => Kind::Batch,
        Name::Undecodable { .. } => Kind::Undecodable,
    }
}

fn into(
    content: &mut Content,
    name: &Name,
    bytes: Bytes,
    spool: Option<Uuid>,
    is_masked: &dyn Fn(&str) -> bool,
) -> Result<(), Fault> {
    let metadata = metadata::parse(&bytes);
    if let Err(Fault::Torn) = metadata {
        return Err(Fault::Torn);
    }
    // A damaged footer is a matter of the digest before anything else.
    match name {
        Name::Batch { digest, .. } if digest::of(&bytes) != *digest => return Err(Fault::Digest),
        Name::Batch { .. } => {}
        _ => digest::check(&bytes)?,
    }
    let metadata = metadata?;
    // Without a spool.json nobody can say whose it is.
    let spool = match spool {
        Some(spool) => spool,
        None => match Footer::from_metadata(&metadata)? {
            Footer::Segment(footer) => footer.spool,
            Footer::Batch(footer) => footer.spool,
            Footer::Undecodable(footer) => footer.spool,
        },
    };
    match name {
        Name::Segment { .. } => {
            let footer = read::segment_footer(name, &metadata, spool)?;
            content.rows = Some(footer.rows);
            let mut rows = Rows::new(is_masked, Some(&footer));
            rows.check(bytes, &schema::segment(), footer.rows)?;
            content.problems.extend(rows.problems());
            content.says = Says::Segment(footer);
        }
        Name::Batch { .. } => {
            let footer = read::batch(name, &bytes, spool)?;
            content.rows = Some(footer.rows);
            let mut rows = Rows::new(is_masked, None);
            rows.check(bytes, &schema::batch(), footer.rows)?;
            content.problems.extend(rows.problems());
            content.says = Says::Batch(footer);
        }
        Name::Undecodable { .. } => {
            let file = undecodable::read(name, bytes, spool)?;
            content.rows = Some(file.footer.rows);
            content.says = Says::Undecodable(file.digest);
        }
    }
    Ok(())
}

/// The check of every row.
struct Rows<'c> {
    is_masked: &'c dyn Fn(&str) -> bool,
    /// The segment whose offsets the rows must keep to.
    segment: Option<&'c SegmentFooter>,
    unmasked: u64,
    last: BTreeMap<i32, i64>,
    misplaced: Option<String>,
}

impl<'c> Rows<'c> {
    fn new(is_masked: &'c dyn Fn(&str) -> bool, segment: Option<&'c SegmentFooter>) -> Self {
        Self {
            is_masked,
            segment,
            unmasked: 0,
            last: BTreeMap::new(),
            misplaced: None,
        }
    }

    fn check(
        &mut self,
        bytes: Bytes,
        schema: &arrow_schema::SchemaRef,
        said: u64,
    ) -> Result<(), Fault> {
        let mut held = 0;
        for rows in read::chunks(bytes, schema)? {
            let rows = rows?;
            held += rows.num_rows() as u64;
            let addresses = rows.column_by_name("remote_addr");
            let addresses = addresses.and_then(|column| column.as_string_opt::<i32>());
            for address in addresses.into_iter().flatten().flatten() {
                self.unmasked += u64::from(!(self.is_masked)(address));
            }
            if let Some(segment) = self.segment {
                self.check_offsets(&rows, segment);
            }
        }
        if held != said {
            return Err(Fault::Rows { said, held });
        }
        Ok(())
    }

    /// Rows of a partition stand in the order of its log, within the offsets
    /// that the footer speaks of; replayed ones account for none.
    fn check_offsets(&mut self, rows: &RecordBatch, segment: &SegmentFooter) {
        let partitions = rows.column_by_name(schema::KAFKA_PARTITION);
        let offsets = rows.column_by_name(schema::KAFKA_OFFSET);
        let (Some(partitions), Some(offsets)) = (
            partitions.and_then(|column| column.as_primitive_opt::<Int32Type>()),
            offsets.and_then(|column| column.as_primitive_opt::<Int64Type>()),
        ) else {
            return;
        };
        for (partition, offset) in partitions.values().iter().zip(offsets.values()) {
            let covered = segment.replayed_from.is_some()
                || segment
                    .offsets
                    .get(partition)
                    .is_some_and(|range| (range.0..range.1).contains(offset));
            let before = self.last.insert(*partition, *offset);
            let problem = if !covered {
                "which its footer does not speak of"
            } else if before.is_some_and(|before| before >= *offset) {
                "twice or out of order"
            } else {
                continue;
            };
            self.misplaced.get_or_insert_with(|| {
                format!("it holds offset {offset} of partition {partition}, {problem}")
            });
        }
    }

    fn problems(self) -> impl Iterator<Item = Problem> {
        let unmasked = (self.unmasked > 0).then_some(Problem::Unmasked(self.unmasked));
        unmasked
            .into_iter()
            .chain(self.misplaced.map(Problem::Offsets))
    }
}
