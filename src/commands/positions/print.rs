//! How positions and resets are printed: for people, or as one JSON object.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;
use uuid::Uuid;

use super::Answer;
use crate::ingest::assignment::positions::{Reset, Standing};
use crate::ingest::commit::Committed;
use crate::text::plural;

/// One partition, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Row {
    partition: i32,
    position: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    committed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    committed_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_start: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_end: Option<i64>,
    /// Where the next start reads from.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<i64>,
}

impl Row {
    fn of(partition: i32, standing: &Standing, spool: Option<Uuid>) -> Self {
        let us = spool.unwrap_or_default();
        Self {
            partition,
            position: standing.own,
            committed: standing.committed.as_ref().map(|commit| commit.offset),
            committed_by: standing
                .committed
                .as_ref()
                .map(|commit| author(commit, spool)),
            log_start: Some(standing.log.start),
            log_end: Some(standing.log.end),
            next: Some(standing.start(us).offset),
            lag: Some(standing.lag(us)),
        }
    }
}

fn author(commit: &Committed, spool: Option<Uuid>) -> String {
    match &commit.signature {
        Some(by) if Some(by.spool) == spool => "ours".to_owned(),
        Some(by) => format!("spool {}", by.spool),
        None => "foreign".to_owned(),
    }
}

/// What `--json` prints without a reset.
#[derive(Debug, Serialize)]
struct Positions {
    spool: Option<Uuid>,
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    partitions: Vec<Row>,
}

/// Prints where every partition stands.
pub(super) fn positions(out: &mut impl Write, answer: &Answer, json: bool) -> Result<()> {
    // The topic that was read last.
    let own = answer.state.as_ref().and_then(|state| state.sources.last());
    let (topic, note, rows): (_, _, Vec<Row>) = match &answer.kafka {
        Ok((source, standings)) => {
            let rows = standings.iter();
            let rows =
                rows.map(|(partition, standing)| Row::of(*partition, standing, answer.spool));
            let other = own.filter(|own| own.source != *source);
            let note = other.map(|own| {
                let other = &own.source;
                format!("the spool last read {other}; its positions there don't count here")
            });
            (Some(source.to_string()), note, rows.collect())
        }
        Err(trouble) => {
            let row = |(partition, position): (i32, i64)| Row {
                partition,
                position: Some(position),
                committed: None,
                committed_by: None,
                log_start: None,
                log_end: None,
                next: None,
                lag: None,
            };
            let topic = own.map(|own| own.source.to_string());
            let note = format!("{trouble}; only our own positions are known");
            let positions = own.map(|own| own.positions.clone()).unwrap_or_default();
            (topic, Some(note), positions.into_iter().map(row).collect())
        }
    };
    let positions = Positions {
        spool: answer.spool,
        topic,
        note,
        partitions: rows,
    };
    if json {
        serde_json::to_writer(&mut *out, &positions)?;
        writeln!(out)?;
        return Ok(());
    }
    table(out, &positions)
}

fn table(out: &mut impl Write, positions: &Positions) -> Result<()> {
    if let Some(topic) = &positions.topic {
        writeln!(out, "{topic}")?;
    }
    writeln!(
        out,
        "{:>9} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12}  committed by",
        "partition", "position", "committed", "log start", "log end", "next", "lag"
    )?;
    for row in &positions.partitions {
        let number = |value: Option<i64>| value.map_or("-".to_owned(), |value| value.to_string());
        writeln!(
            out,
            "{:>9} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12}  {}",
            row.partition,
            number(row.position),
            number(row.committed),
            number(row.log_start),
            number(row.log_end),
            number(row.next),
            number(row.lag),
            row.committed_by.as_deref().unwrap_or("-"),
        )?;
    }
    if let Some(note) = &positions.note {
        writeln!(out, "{note}")?;
    }
    Ok(())
}

/// What `--json` prints for a reset.
#[derive(Debug, Serialize)]
struct Resets<'r> {
    resets: &'r [Reset],
    rewound: i64,
    skipped: i64,
    done: bool,
}

/// Prints what resets do, or did.
pub(super) fn resets(out: &mut impl Write, resets: &[Reset], json: bool, done: bool) -> Result<()> {
    if json {
        let all = Resets {
            resets,
            rewound: resets.iter().map(Reset::rewound).sum(),
            skipped: resets.iter().map(Reset::skipped).sum(),
            done,
        };
        serde_json::to_writer(&mut *out, &all)?;
        writeln!(out)?;
        return Ok(());
    }
    for reset in resets {
        let Reset {
            partition,
            from,
            to,
            lost,
        } = reset;
        write!(out, "partition {partition}: {from} -> {to}: ")?;
        match to.cmp(from) {
            std::cmp::Ordering::Less => writeln!(
                out,
                "a rewind by {}; they will be stored a second time, unless they never were stored",
                plural(reset.rewound() as u64, "offset"),
            )?,
            std::cmp::Ordering::Greater => writeln!(
                out,
                "a skip; {} will never be read (gaps.jsonl)",
                plural(reset.skipped() as u64, "offset"),
            )?,
            std::cmp::Ordering::Equal => writeln!(out, "it is there already")?,
        }
        if let Some(lost) = lost {
            writeln!(
                out,
                "partition {partition}: retention took {} to {} before they were read (gaps.jsonl)",
                lost.0,
                lost.1 - 1,
            )?;
        }
    }
    writeln!(
        out,
        "{}",
        if done {
            "done: the next `spoolhouse run` starts there"
        } else {
            "nothing was changed yet"
        }
    )?;
    Ok(())
}
