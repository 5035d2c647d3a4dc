//! Does a seed decide everything, does time pass only when nobody can run, and does a
//! kill reach everybody of its process and nobody else?

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::*;

/// The order in which three actors take ten steps each.
fn order(seed: u64) -> Vec<u32> {
    simulate(seed, || {
        let order = Rc::new(RefCell::new(Vec::new()));
        let left = Rc::new(Cell::new(3));
        for actor in 0..3 {
            let (order, left) = (order.clone(), left.clone());
            spawn(&format!("actor {actor}"), WORLD, move || {
                for _ in 0..10 {
                    touch("disk.write", format_args!(""));
                    order.borrow_mut().push(actor);
                }
                left.set(left.get() - 1);
            });
        }
        assert!(wait_for(Duration::MAX, || left.get() == 0));
        order.take()
    })
}

#[test]
fn a_seed_decides_who_runs_and_another_one_otherwise() {
    assert_eq!(order(1), order(1));
    assert_eq!(order(1).len(), 30);
    assert_ne!(order(1), order(2));
}

#[test]
fn time_passes_when_nobody_can_run_and_then_to_the_next_deadline() {
    let second = Duration::from_secs(1);
    simulate(1, move || {
        let seen = Rc::new(RefCell::new(Vec::new()));
        for at in [3, 1, 2] {
            let seen = seen.clone();
            spawn("sleeper", WORLD, move || {
                wait_until(second * at);
                seen.borrow_mut().push((at, now()));
            });
        }
        let others = seen.clone();
        assert!(!wait_for(second * 2, || others.borrow().len() == 3));
        assert!(wait_for(second * 2, || others.borrow().len() == 3));
        assert_eq!(*seen.borrow(), [1, 2, 3].map(|at| (at, second * at)));
    });
}

#[test]
fn who_yields_lets_time_pass_for_the_others() {
    simulate(1, || {
        let is_free = Rc::new(Cell::new(false));
        let frees = is_free.clone();
        spawn("holder", WORLD, move || {
            wait_until(Duration::from_secs(5));
            frees.set(true);
        });
        for _ in 0..2 {
            let is_free = is_free.clone();
            spawn("waiter", WORLD, move || {
                while !is_free.get() {
                    let_others_run();
                }
            });
        }
        while !is_free.get() {
            let_others_run();
        }
        assert_eq!(now(), Duration::from_secs(5));
    });
}

#[test]
fn a_kill_unwinds_every_actor_of_its_process_before_anybody_else_has_a_turn() {
    struct Dropped(Rc<Cell<u32>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            // Whoever unwinds changes nothing any more.
            touch("disk.write", format_args!("in a drop"));
            self.0.set(self.0.get() + 1);
        }
    }
    simulate(1, || {
        let (ours, theirs) = (Process(1), Process(2));
        let gone = Rc::new(Cell::new(0));
        for process in [ours, ours, theirs] {
            let dropped = Dropped(gone.clone());
            spawn("actor", process, move || {
                let _dropped = dropped;
                loop {
                    touch("disk.write", format_args!(""));
                    wait_until(now() + Duration::from_millis(1));
                }
            });
        }
        let buried = Rc::new(Cell::new(None));
        let (hook, seen) = (buried.clone(), gone.clone());
        on_death(ours, move |death| hook.set(Some((death, seen.get()))));
        at_touch(Class::Disk, 20, move || kill(ours, Death::PowerCut));
        assert!(wait_for(Duration::from_secs(1), || is_dead(ours)));
        assert_eq!(buried.get(), Some((Death::PowerCut, 2)));
        assert!(!is_alive(ours));
        assert!(is_alive(theirs));
    });
}

#[test]
fn a_future_is_polled_when_it_is_woken_and_when_its_time_comes() {
    simulate(1, || {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        spawn("sender", WORLD, move || {
            wait_until(Duration::from_secs(7));
            sender.send(7).unwrap();
        });
        let mut receiver = std::pin::pin!(receiver);
        let mut polls = 0;
        let got = block_on(std::future::poll_fn(|context| {
            polls += 1;
            wake_at(now() + Duration::from_secs(4));
            receiver.as_mut().poll(context)
        }));
        assert_eq!((got, polls), (Ok(7), 3));
    });
}

#[test]
fn a_panic_a_livelock_and_a_deadlock_fail_the_life() {
    let fails = |root: fn() -> Result<(), String>| {
        let settings = Settings {
            steps_max: 1_000,
            ..Settings::of_seed(1)
        };
        run(settings, root).failure.unwrap().what
    };
    assert!(fails(|| panic!("broken")).contains("broken"));
    assert!(
        fails(|| loop {
            touch("disk.write", format_args!(""))
        })
        .contains("steps")
    );
    assert!(
        fails(|| loop {
            wait_until(now() + Duration::from_secs(1_000))
        })
        .contains("no end")
    );
    let waits = fails(|| {
        wait_for(Duration::MAX, || false);
        Ok(())
    });
    assert!(waits.contains("everybody waits"), "{waits}");
    assert_eq!(fails(|| Err("unbalanced".to_owned())), "unbalanced");
}

#[test]
fn the_same_life_has_the_same_hash_and_its_trace() {
    let live = |seed| {
        let settings = Settings {
            keep_trace: true,
            ..Settings::of_seed(seed)
        };
        run(settings, || {
            spawn("other", WORLD, || touch("broker.poll", format_args!("1")));
            (0..5).for_each(|n| touch("disk.write", format_args!("{n}")));
            wait_until(Duration::from_secs(1));
            Ok(())
        })
    };
    let (one, two) = (live(1), live(1));
    assert_eq!((one.hash, &one.trace), (two.hash, &two.trace));
    assert_eq!(one.trace.len(), 6);
    assert_ne!(one.hash, live(2).hash);
}
