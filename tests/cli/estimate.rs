//! Does `estimate` reckon right? Its rows are counted anew in traffic as it is
//! produced and computed key by key; its figures follow from each other; and
//! whatever is typed, it answers or says what is wrong.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::process::Command;

use assert_cmd::cargo::CommandCargoExt;
use serde_json::Value;
use spoolhouse::traffic::{Profile, Traffic};

fn estimate(words: &str) -> (Option<i32>, String, String) {
    let mut command = Command::cargo_bin("spoolhouse").unwrap();
    let dir = tempfile::tempdir().unwrap();
    command.arg("estimate").args(words.split_whitespace());
    let output = command.current_dir(dir.path()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// What `--json` says: one line, one object.
fn told(words: &str) -> Value {
    let (code, stdout, stderr) = estimate(&format!("{words} --json"));
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{words}");
    assert_eq!(stdout.lines().count(), 1, "{words}");
    serde_json::from_str(&stdout).unwrap()
}

/// The number at a path such as `disk.log.low`.
fn number(told: &Value, path: &str) -> f64 {
    let found = path.split('.').fold(told, |value, key| &value[key]);
    found.as_f64().unwrap_or_else(|| panic!("{path}: {told}"))
}

#[track_caller]
fn assert_near(said: f64, due: f64, share: f64) {
    assert!((said / due - 1.0).abs() <= share, "{said} instead of {due}");
}

fn distinct<T: Hash + Eq>(keys: impl Iterator<Item = T>) -> f64 {
    keys.collect::<HashSet<T>>().len() as f64
}

#[test]
fn rows_are_as_many_as_a_day_of_produced_traffic_has() {
    for (name, profile) in [
        ("realistic", Profile::Realistic),
        ("uniform", Profile::Uniform),
    ] {
        let traffic = Traffic {
            profile,
            seed: 3,
            start_milli: 1_767_225_600_000,
            rate: 2,
            bad_per_million: 0,
        };
        let rows: Vec<_> = (0..2 * 86_400)
            .map(|place| traffic.row(place).unwrap())
            .collect();
        let keys = rows.iter().map(|row| {
            let network = u32::from(row.remote_addr) >> 8;
            let minute = row.timestamp_milli / 60_000;
            let answer = (row.response_status, row.cache_status);
            (minute, row.resource_id, network, answer)
        });
        let told = told(&format!("--rate 2/s --retention 1d --profile {name}"));
        let said = |part: &str| number(&told["per_day"]["parts"][part], "rows");
        let uncut = distinct(keys.clone());
        assert_near(
            number(&told, "totals_rows_per_minute.low"),
            uncut / 1440.0,
            0.01,
        );
        // A batch every 62.5 s cuts minutes.
        let cut = distinct(
            rows.iter()
                .map(|row| row.timestamp_milli / 62_500)
                .zip(keys.clone()),
        );
        assert_near(said("totals"), cut, 0.01);
        assert_eq!(said("by_address"), said("totals"));
        assert_eq!(said("log"), 2.0 * 86_400.0);
        let without = distinct(
            keys.clone()
                .map(|(minute, id, _, answer)| (minute, id, answer)),
        );
        assert_near(said("without_address"), without, 0.01);
        let answers = distinct(keys.clone().map(|(minute, _, _, answer)| (minute, answer)));
        assert_near(said("status_and_cache"), answers, 0.01);
        let of_address = distinct(
            keys.clone()
                .map(|(_, _, network, answer)| (network, answer)),
        );
        assert_near(said("address_by_day"), of_address, 0.01);
        let of_resource = distinct(keys.map(|(_, id, _, answer)| (id, answer)));
        assert_near(said("resource_by_day"), of_resource, 0.01);
    }
}

#[test]
fn rows_are_the_sum_over_every_single_key() {
    let (resources, networks, skew) = (40, 300, 1.2);
    let weights = |count: u32| -> Vec<f64> {
        let of = (1..=count).map(|rank| f64::from(rank).powf(-skew));
        let total: f64 = of.clone().sum();
        of.map(|weight| weight / total).collect()
    };
    let shape = Profile::Realistic.shape();
    let shares = |weights: &[u64]| -> Vec<f64> {
        let total: u64 = weights.iter().sum();
        let share = |weight: &u64| *weight as f64 / total as f64;
        weights.iter().map(share).collect()
    };
    let (statuses, caches) = (shares(&shape.statuses), shares(&shape.cache_states));
    let mut keys = Vec::new();
    for resource in weights(resources) {
        for network in weights(networks) {
            for status in &statuses {
                keys.extend(
                    caches
                        .iter()
                        .map(|cache| resource * network * status * cache),
                );
            }
        }
    }
    let hit = |n: f64| -> f64 { keys.iter().map(|p| 1.0 - (1.0 - p).powf(n)).sum() };
    let by_hour = shape
        .hours
        .iter()
        .map(|percent| hit(30.0 * 60.0 * *percent as f64 / 100.0));
    let due = by_hour.sum::<f64>() / 24.0;
    let told = told("--rate 30/s --retention 1d --resources 40 --networks 300 --skew 1.2");
    assert_near(number(&told, "totals_rows_per_minute.low"), due, 0.002);
}

#[test]
fn figures_follow_from_each_other() {
    let told = told("--rate 200/s --retention 90d --raw-retention 7d");
    let at = |path: &str| number(&told, path);
    assert_eq!(at("per_day.messages"), 17_280_000.0);
    assert_near(at("disk.log.expected"), 7.5 * at("per_day.log_bytes"), 1e-9);
    assert_near(
        at("disk.totals.expected"),
        90.5 * at("per_day.totals_bytes"),
        1e-9,
    );
    assert_near(
        at("disk.totals.low"),
        90.0 * 0.85 * at("per_day.totals_bytes"),
        1e-9,
    );
    assert_near(
        at("disk.totals.high"),
        92.0 * 1.15 * at("per_day.totals_bytes"),
        1e-9,
    );
    for bound in ["low", "expected", "high"] {
        let of = |table: &str| at(&format!("disk.{table}.{bound}"));
        assert_near(of("all"), of("log") + of("totals"), 1e-9);
    }
    let parts = told["per_day"]["parts"].as_object().unwrap();
    let bytes: f64 = parts.values().map(|part| number(part, "bytes")).sum();
    assert_near(
        bytes,
        at("per_day.log_bytes") + at("per_day.totals_bytes"),
        1e-9,
    );
    assert_near(
        at("spool.bytes_per_hour"),
        720_000.0 * at("spool.bytes_per_row"),
        1e-9,
    );
    assert_near(at("proxy.share"), 200.0 / at("proxy.capacity_per_s"), 1e-9);
    assert_near(
        at("kafka.in_per_s"),
        200.0 * at("kafka.bytes_per_message"),
        1e-9,
    );
    assert!(at("latency_s.min") < at("latency_s.median"));
    assert!(at("latency_s.median") < at("latency_s.max"));
}

#[test]
fn a_rate_that_one_address_cannot_carry_takes_several() {
    let instances = |rate: &str, profile: &str| {
        let told = told(&format!("--rate {rate} --retention 1d --profile {profile}"));
        let (capacity, rate) = (
            number(&told, "proxy.capacity_per_s"),
            number(&told, "given.rate_per_s"),
        );
        let least = number(&told, "proxy.instances_least");
        assert_eq!(least, (rate / capacity).ceil());
        (least, number(&told, "proxy.instances"))
    };
    assert_eq!(instances("100/s", "uniform"), (1.0, 1.0));
    let (least, all) = instances("10k/s", "uniform");
    assert!(least > 10.0 && least == all);
    // Realistic traffic has an hour at 162 percent.
    let (least, all) = instances("10k/s", "realistic");
    assert_near(all, least * 1.62, 0.1);
}

#[test]
fn a_kafka_message_and_a_segment_are_those_of_the_producer() {
    let traffic = Traffic {
        profile: Profile::Uniform,
        seed: 9,
        start_milli: 1_767_225_600_000,
        rate: 200,
        bad_per_million: 0,
    };
    let payload: usize = (0..5_000)
        .map(|place| traffic.row(place).unwrap().encode().len())
        .sum();
    let busy = told("--rate 200/s --retention 1d --profile uniform");
    let said = number(&busy, "kafka.bytes_per_message");
    assert_near(said, payload as f64 / 5_000.0 + 11.0, 0.01);
    // A segment of few rows is mostly footer.
    let idle = told("--rate 1/s --retention 1d --profile uniform");
    let per_row = |told: &Value| number(told, "spool.bytes_per_row");
    assert!(per_row(&idle) > 5.0 * per_row(&busy));
}

#[test]
fn more_of_anything_never_takes_less_room() {
    let all = |words: &str| number(&told(words), "disk.all.expected");
    let mut last = 0.0;
    for rate in ["1/s", "10/s", "100/s", "1k/s", "10k/s", "100k/s", "1M/s"] {
        let now = all(&format!("--rate {rate} --retention 30d"));
        assert!(now > 5.0 * last, "{rate}: {now} after {last}");
        last = now;
    }
    let at = |more: &str| all(&format!("--rate 100/s --retention 30d {more}"));
    assert!(at("--raw-retention 7d") < at(""));
    assert!(at("") < at("--profile uniform"));
    assert!(at("--networks 500") < at("--networks 500000"));
    assert!(at("--skew 1.3") < at("--skew 0.8"));
}

#[test]
fn people_read_the_answer_first_and_what_it_rests_on_last() {
    let (code, said, stderr) = estimate("--rate 200/s --retention 90d --raw-retention 7d");
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let places = [
        "200 messages a second, 17.3 M a day; totals kept 90 days, the log 7 days",
        "http_log ",
        "http_log_totals ",
        "together ",
        "rows in totals",
        "spool ",
        "proxy ",
        "instances ",
        "latency ",
        "Kafka ",
        "What this rests on:",
        "spoolhouse produce (src/traffic)",
        "ops/bench estimate",
    ]
    .map(|words| {
        said.find(words)
            .unwrap_or_else(|| panic!("{words}: {said}"))
    });
    assert!(places.is_sorted(), "{said}");
    let told = told("--rate 200/s --retention 90d");
    for assumption in told["assumptions"].as_array().unwrap() {
        for key in ["what", "source"] {
            assert!(!assumption[key].as_str().unwrap().is_empty());
        }
    }
}

#[test]
fn what_cannot_be_used_is_said_and_exits_with_2() {
    let dir = "--rate 200/s --retention 90d";
    for (words, said) in [
        ("--retention 90d", "--rate <N/s>"),
        ("--rate 200/s", "--retention <TIME>"),
        ("--rate -1/s --retention 90d", "-1"),
        ("--rate=-1/s --retention 90d", "such as 200/s"),
        ("--rate NaN --retention 90d", "such as 200/s"),
        ("--rate 1e99/s --retention 90d", "such as 200/s"),
        ("--rate 9999999M/s --retention 90d", "such as 200/s"),
        ("--rate 200/year --retention 90d", "such as 200/s"),
        ("--rate 200/s --retention 90", "such as 90d"),
        ("--rate 200/s --retention forever", "such as 90d"),
        ("--rate 200/s --retention 9999years", "such as 90d"),
        (&format!("{dir} --raw-retention x"), "such as 90d"),
        (&format!("{dir} --resources 0"), "--resources"),
        (&format!("{dir} --networks 0"), "--networks"),
        (&format!("{dir} --networks 1.5"), "--networks"),
        (&format!("{dir} --skew 9"), "from 0 (all alike) to 4"),
        (&format!("{dir} --profile odd"), "uniform, realistic"),
        (
            &format!("{dir} --profile uniform --networks 5"),
            "are for --profile realistic",
        ),
        (&format!("{dir} --direct"), "--from <URL>"),
        (&format!("{dir} --from nonsense"), "--from: not a URL"),
        (
            &format!("{dir} --from ftp://x/"),
            "--from: must begin with http",
        ),
        (
            &format!("{dir} --from http://u:secret@x/"),
            "--from: must not hold a user",
        ),
    ] {
        let (code, stdout, stderr) = estimate(words);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{words}: {stderr}");
        assert!(stderr.contains(said), "{words}: {stderr}");
        assert!(!stderr.contains("secret"), "{stderr}");
    }
}

#[test]
fn nothing_and_far_too_much_have_an_answer() {
    let most = u64::MAX;
    for words in [
        "--rate 0/s --retention 0s".to_owned(),
        "--rate 0/s --retention 90d --profile uniform".to_owned(),
        "--rate 0.000001/d --retention 1s".to_owned(),
        "--rate 1000000M/s --retention 100000d".to_owned(),
        format!("--rate 1000000M/s --retention 273years --resources {most} --networks {most}"),
        format!("--rate 1/s --retention 1d --resources {most} --networks 1 --skew 4"),
        "--rate 1/s --retention 1d --resources 1 --networks 1 --skew 0".to_owned(),
        "--rate 1000000M/s --retention 1d --profile uniform".to_owned(),
    ] {
        let told = told(&words);
        assert!(!nulls(&told, ""), "{words}: {told}");
        assert!(!told.to_string().contains(":-"), "{words}: {told}");
        let (code, stdout, _) = estimate(&words);
        assert_eq!(code, Some(0));
        for odd in ["NaN", "inf", "-"] {
            let figures = stdout.split("What this rests on").next().unwrap();
            assert!(!figures.contains(odd), "{odd}: {stdout}");
        }
    }
    let none = told("--rate 0/s --retention 90d");
    for path in [
        "disk.all.high",
        "proxy.share",
        "kafka.in_per_s",
        "spool.bytes_per_hour",
    ] {
        assert_eq!(number(&none, path), 0.0, "{path}");
    }
    assert_eq!(number(&none, "proxy.instances"), 1.0);
}

/// Whether any number is missing, which is how JSON has infinity and what is none.
fn nulls(value: &Value, path: &str) -> bool {
    match value {
        Value::Null => !matches!(path, "server" | "hours_until_full"),
        Value::Object(fields) => fields.iter().any(|(key, value)| nulls(value, key)),
        Value::Array(items) => items.iter().any(|item| nulls(item, path)),
        _ => false,
    }
}

/// The worked table of sql/README.md: expected disk of the log and the totals.
#[test]
fn the_worked_table_says_what_the_command_says() {
    let readme = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/README.md"),
    )
    .unwrap();
    let mut due = BTreeMap::new();
    for (place, (rate, shown)) in [
        ("100/s", "100"),
        ("1k/s", "1 k"),
        ("10k/s", "10 k"),
        ("100k/s", "100 k"),
        ("1M/s", "1 M"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut line = format!("| {shown} |");
        for days in [7, 30, 90, 365] {
            let told = told(&format!("--rate {rate} --retention {days}d"));
            let size = |table: &str| {
                let bytes = number(&told, &format!("disk.{table}.expected"));
                bytesize::ByteSize(bytes.round() as u64)
                    .display()
                    .iec()
                    .to_string()
            };
            line += &format!(" {} + {} |", size("log"), size("totals"));
        }
        due.insert(place, line);
    }
    let due: Vec<String> = due.into_values().collect();
    let due = due.join("\n");
    assert!(readme.contains(&due), "the table should be:\n{due}");
}
