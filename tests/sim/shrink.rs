//! Makes a plan that fails smaller, step by step, as long as it still fails: fewer events,
//! then plainer ones, then a smaller world, then turns that change less often.

use std::time::{Duration, Instant};

use crate::plan::{At, Plan, What};

/// How long somebody waits for a smaller one.
const TIME_MAX: Duration = Duration::from_secs(60);

/// The smallest plan found that still fails.
pub fn smallest(plan: &Plan, fails: impl Fn(&Plan) -> bool) -> Plan {
    let mut search = Search {
        best: plan.clone(),
        fails,
        until: Instant::now() + TIME_MAX,
    };
    loop {
        let before = search.best.clone();
        search.fewer_events();
        search.plainer_events();
        search.smaller_world();
        search.fewer_turns();
        if search.best == before || Instant::now() >= search.until {
            return search.best;
        }
    }
}

struct Search<F> {
    best: Plan,
    fails: F,
    until: Instant,
}

impl<F: Fn(&Plan) -> bool> Search<F> {
    /// Takes a change over if the plan still fails with it; whether it does.
    fn attempt(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut plan = self.best.clone();
        change(&mut plan);
        if plan == self.best || Instant::now() >= self.until || !(self.fails)(&plan) {
            return false;
        }
        self.best = plan;
        true
    }

    /// Leaves out half of the events, a quarter, and so on, then one by one.
    fn fewer_events(&mut self) {
        let mut size = self.best.events.len().div_ceil(2);
        while size > 0 {
            let mut from = 0;
            while from < self.best.events.len() {
                let to = (from + size).min(self.best.events.len());
                if !self.attempt(|plan| drop(plan.events.drain(from..to))) {
                    from = to;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }

    fn plainer_events(&mut self) {
        for place in 0..self.best.events.len() {
            let what = self.best.events[place].what.clone();
            for plainer in plainer(&what) {
                if self.attempt(|plan| plan.events[place].what = plainer) {
                    break;
                }
            }
            if let At::Ms(ms) = self.best.events[place].at {
                self.attempt(|plan| plan.events[place].at = At::Ms(ms / 1_000 * 1_000));
            }
        }
    }

    fn smaller_world(&mut self) {
        self.attempt(|plan| plan.world.partitions = 1);
        self.attempt(|plan| plan.world.incarnation = 0);
        for percent in [10, 25, 50, 80] {
            if self.attempt(|plan| plan.world.offsets = plan.world.offsets * percent / 100) {
                break;
            }
        }
        if self.best.world.backlog_percent != 0
            && !self.attempt(|plan| plan.world.backlog_percent = 0)
        {
            self.attempt(|plan| plan.world.backlog_percent = 100);
        }
        self.attempt(|plan| plan.world.spool_bytes_max = 1 << 30);
        if self.best.world.spool_bytes_max == 1 << 30 {
            self.attempt(|plan| plan.world.roll_bytes = 1 << 20);
        }
        self.attempt(|plan| plan.world.undecodable_bytes_max = 1 << 20);
        self.attempt(|plan| plan.world.body_bytes_expected = plan.world.body_bytes_max);
        self.attempt(|plan| plan.world.interval_ms_expected = plan.world.interval_ms);
        self.attempt(|plan| plan.world.data_attempts_max = 1);
        self.attempt(|plan| plan.world.tokens_max = 100);
        self.attempt(|plan| plan.world.session_ms = 45_000);
        self.attempt(|plan| plan.world.is_compact = true);
        self.attempt(|plan| plan.world.restarts_at_calm = true);
    }

    fn fewer_turns(&mut self) {
        self.attempt(|plan| plan.turns.delay_one_in = 0);
        for switch_one_in in [0, 1_000, 100, 30] {
            // One that is there already is plainer than those that follow.
            if self.best.turns.switch_one_in == switch_one_in
                || self.attempt(|plan| plan.turns.switch_one_in = switch_one_in)
            {
                break;
            }
        }
    }
}

/// The same event, but less of it.
fn plainer(what: &What) -> Vec<What> {
    match what.clone() {
        What::Kill { .. } => vec![What::Kill { down_ms: 10 }],
        What::PowerCut { .. } => vec![What::Kill { down_ms: 10 }, What::PowerCut { down_ms: 10 }],
        What::Stop { down_ms, .. } => vec![
            What::Stop {
                down_ms: 10,
                run: None,
            },
            What::Stop { down_ms, run: None },
        ],
        What::DiskErrors { error, .. } => vec![What::DiskErrors { count: 1, error }],
        What::ReadErrors { .. } => vec![What::ReadErrors { count: 1 }],
        What::Commits { fault, .. } => vec![What::Commits { count: 1, fault }],
        What::Asks { fault, .. } => vec![What::Asks { count: 1, fault }],
        What::OutOfOrder { .. } => vec![What::OutOfOrder { count: 1 }],
        What::Requests { fault, .. } => vec![What::Requests { count: 1, fault }],
        What::Inserts { fault, .. } => vec![What::Inserts { count: 1, fault }],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::DiskError;

    #[test]
    fn what_is_left_is_what_the_failure_needs() {
        let is_power_cut = |what: &What| matches!(what, What::PowerCut { .. });
        let is_error = |what: &What| matches!(what, What::DiskErrors { .. });
        let fails = |plan: &Plan| {
            let has =
                |wanted: fn(&What) -> bool| plan.events.iter().any(|event| wanted(&event.what));
            has(is_power_cut) && has(is_error) && plan.world.offsets > 40
        };
        let plan = (0..)
            .map(Plan::of_seed)
            .find(|plan| plan.events.len() > 3 && fails(plan));
        let smallest = smallest(&plan.unwrap(), fails);
        assert_eq!(smallest.events.len(), 2);
        assert!(
            smallest
                .events
                .iter()
                .any(|event| event.what == What::PowerCut { down_ms: 10 })
        );
        let is_one = |what: &What| {
            let [io, full] = [DiskError::Io, DiskError::NoSpace]
                .map(|error| What::DiskErrors { count: 1, error });
            *what == io || *what == full
        };
        assert!(smallest.events.iter().any(|event| is_one(&event.what)));
        assert!((41..80).contains(&smallest.world.offsets));
        assert_eq!(smallest.turns.switch_one_in, 0);
        assert_eq!(smallest.world.partitions, 1);
    }
}
