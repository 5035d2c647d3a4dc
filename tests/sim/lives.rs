//! Does any life lose a record, store one twice, or break a rule?
//!
//! A fixed number of them, one seed after the other; `ops/simulate` lives more. The plans
//! of lives that once failed come first.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::time::{Duration, Instant};

use crate::audit::Account;
use crate::life::{Lived, live};
use crate::plan::Plan;
use crate::shrink::smallest;

/// Lives that failed once: a seed or a plan a line.
const REGRESSIONS: &str = include_str!("regressions.txt");

/// Lives, unless `SIMULATE_LIVES` or `SIMULATE_MINUTES` says otherwise.
const LIVES: u64 = 1_000;

/// The first seed, unless `SIMULATE_SEED` says otherwise.
const SEED: u64 = 1;

/// Lines of the trace that are shown of a life that failed.
const LINES_MAX: usize = 400;

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// What was lived through.
#[derive(Default)]
struct Sum {
    lives: u64,
    steps: u64,
    time: Duration,
    kinds: BTreeMap<&'static str, u64>,
    pairs: BTreeSet<(&'static str, &'static str)>,
    account: Account,
}

impl Sum {
    /// Lives a life; tells and ends everything if it fails.
    fn live(&mut self, plan: &Plan) {
        let begun = Instant::now();
        let Lived { report, account } = live(plan, false);
        if env::var_os("SIMULATE_VERBOSE").is_some() {
            println!(
                "seed {}: {} steps, {:?} virtual, {:?}, {:?}, {account:?}",
                plan.seed,
                report.steps,
                report.time,
                begun.elapsed(),
                report.touches
            );
        }
        self.lives += 1;
        self.steps += report.steps;
        self.time += report.time;
        for (kind, count) in report.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
        self.pairs.extend(report.pairs);
        self.account.stored += account.stored;
        self.account.kept += account.kept;
        self.account.in_gaps += account.in_gaps;
        self.account.elsewhere += account.elsewhere;
        self.account.lost += account.lost;
        self.account.duplicated += account.duplicated;
        if let Some(failure) = report.failure {
            println!("seed {}: {failure}", plan.seed);
            println!("plan: {}", plan.to_line());
            tell(plan);
        }
    }

    fn print(&self, begun: Instant) {
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{} lives in {seconds:.0} s, {:.0} a minute; {} steps and {:.0} s of virtual time each; \
             {} kinds of steps, {} pairs of step and fault",
            self.lives,
            self.lives as f64 * 60.0 / seconds,
            self.steps / self.lives.max(1),
            self.time.as_secs_f64() / self.lives.max(1) as f64,
            self.kinds.len(),
            self.pairs.len(),
        );
    }
}

/// Makes a plan that fails as small as it gets, and shows what happens in it.
fn tell(plan: &Plan) -> ! {
    let small = match env::var_os("SIMULATE_WHOLE") {
        Some(_) => plan.clone(),
        None => smallest(plan, |plan| live(plan, false).report.failure.is_some()),
    };
    let report = live(&small, true).report;
    let skipped = report.trace.len().saturating_sub(LINES_MAX);
    if skipped > 0 {
        println!("… {skipped} lines");
    }
    for line in &report.trace[skipped..] {
        println!("{line}");
    }
    let failure = report
        .failure
        .map_or("nothing: it does not replay".to_owned(), |f| f.to_string());
    println!("\nthe smallest life that fails: {failure}");
    println!("run it again: ops/simulate --plan '{}'", small.to_line());
    panic!("seed {}: {failure}", plan.seed);
}

#[test]
fn every_record_is_stored_once_in_any_life() {
    let begun = Instant::now();
    let mut sum = Sum::default();
    if let Ok(text) = env::var("SIMULATE_PLAN") {
        let plan = Plan::parse(&text).unwrap();
        let report = live(&plan, true).report;
        report.trace.iter().for_each(|line| println!("{line}"));
        assert_eq!(report.failure, None);
        return;
    }
    let saved = REGRESSIONS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in saved {
        sum.live(&Plan::parse(line).unwrap());
    }
    let first = number("SIMULATE_SEED").unwrap_or(SEED);
    let minutes = number("SIMULATE_MINUTES").map(|minutes| Duration::from_secs(minutes * 60));
    let lives = number("SIMULATE_LIVES").unwrap_or(match minutes {
        Some(_) => u64::MAX,
        None => LIVES,
    });
    let mut told = Instant::now();
    for seed in (first..).take(usize::try_from(lives).unwrap_or(usize::MAX)) {
        if minutes.is_some_and(|minutes| begun.elapsed() >= minutes) {
            break;
        }
        sum.live(&Plan::of_seed(seed));
        if told.elapsed() >= Duration::from_secs(60) {
            sum.print(begun);
            told = Instant::now();
        }
    }
    sum.print(begun);
    let Account {
        stored,
        kept,
        in_gaps,
        elsewhere,
        lost,
        duplicated,
        ..
    } = sum.account;
    println!(
        "stored {stored}, kept {kept}, in gaps {in_gaps}, elsewhere {elsewhere}, \
         lost {lost}, duplicated {duplicated}"
    );
}

#[test]
fn a_seed_lives_the_same_life_again() {
    for seed in 0..20 {
        let plan = Plan::of_seed(seed);
        let (one, two) = (live(&plan, false).report, live(&plan, true).report);
        assert_eq!((one.hash, one.steps), (two.hash, two.steps), "seed {seed}");
        assert_eq!(one.failure, two.failure);
    }
}
