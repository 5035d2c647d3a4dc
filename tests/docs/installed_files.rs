//! Would the tools that read them take the files under `ops/` that install and
//! run Spoolhouse: Docker Compose, the builder of images, systemd, nginx,
//! Prometheus? Each is asked by a validator that is known to find a planted fault.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::validators::{repository, said, validator};

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

/// Docker Compose's own account of a project whose file is this text.
fn compose(text: &str) -> Output {
    // Beside the real one, since its paths begin there.
    let file = tempfile::Builder::new()
        .prefix(".compose-")
        .suffix(".yml")
        .tempfile_in(repository().join("ops"))
        .unwrap();
    fs::write(file.path(), text).unwrap();
    let mut compose = validator("docker-compose");
    compose.args(["config", "--format", "json"]).env_clear();
    compose.env("PATH", std::env::var("PATH").unwrap());
    compose
        .env("HOME", std::env::temp_dir())
        .env("COMPOSE_FILE", file.path());
    compose.output().unwrap()
}

fn project() -> Value {
    let done = compose(&read("ops/docker-compose.yml"));
    assert!(
        done.status.success() && done.stderr.is_empty(),
        "{}",
        said(&done)
    );
    serde_json::from_slice(&done.stdout).unwrap()
}

fn services(project: &Value) -> &serde_json::Map<String, Value> {
    project["services"].as_object().unwrap()
}

/// The elements under a key, none if there is no such key.
fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value[key].as_array().into_iter().flatten()
}

#[test]
fn compose_takes_the_reference_environment_and_finds_what_is_planted() {
    let text = read("ops/docker-compose.yml");
    assert!(compose(&text).status.success());
    for (from, to) in [
        ("condition: service_healthy", "condition: service_helthy"),
        ("    read_only: true", "    readonly: true"),
        ("- spool:/var", "- spoool:/var"),
        ("depends_on:\n      kafka:", "depends_on:\n      kafkaa:"),
        ("127.0.0.1:3000:3000", "127.0.0.1:3000:grafana"),
    ] {
        assert!(text.contains(from), "{from}");
        assert!(
            !compose(&text.replacen(from, to, 1)).status.success(),
            "{to}"
        );
    }
}

#[test]
fn the_ports_are_those_of_the_reference_and_of_this_machine_only() {
    let project = project();
    let mut published = BTreeMap::new();
    for (name, service) in services(&project) {
        for port in list(service, "ports") {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name}");
            published.insert(
                port["published"].as_str().unwrap().to_owned(),
                name.as_str(),
            );
        }
    }
    let expected = [
        ("3000", "grafana"),
        ("4000", "kafka-ui"),
        ("8123", "clickhouse"),
        ("8124", "proxy"),
        ("9000", "clickhouse"),
        ("9090", "prometheus"),
        ("9092", "kafka"),
        ("9464", "spoolhouse"),
    ];
    let expected = expected.map(|(port, name)| (port.to_owned(), name));
    assert_eq!(published, BTreeMap::from(expected));
    let environment = &project["services"]["grafana"]["environment"];
    assert_eq!(environment["GF_SECURITY_ADMIN_USER"], "admin");
    assert_eq!(environment["GF_SECURITY_ADMIN_PASSWORD"], "kafka");
}

#[test]
fn what_the_containers_mount_and_build_from_is_there_and_their_images_have_versions() {
    let project = project();
    for (name, service) in services(&project) {
        for mount in list(service, "volumes").filter(|mount| mount["type"] == "bind") {
            let source = Path::new(mount["source"].as_str().unwrap());
            assert!(source.exists(), "{name}: {}", source.display());
            assert_eq!(mount["read_only"], true, "{name}: {}", source.display());
        }
        if let Some(context) = service["build"]["context"].as_str() {
            let file = service["build"]["dockerfile"].as_str().unwrap();
            assert!(Path::new(context).join(file).exists(), "{name}");
        } else if service["image"] != "spoolhouse" {
            let image = service["image"].as_str().unwrap();
            let (_, version) = image.rsplit_once(':').expect(image);
            assert!(version.contains(|c: char| c.is_ascii_digit()), "{image}");
        }
    }
}

#[test]
fn our_containers_can_write_nothing_but_the_spool_and_their_settings_are_ours() {
    let project = project();
    for name in ["spoolhouse", "producer"] {
        let service = &project["services"][name];
        assert_eq!(service["read_only"], true);
        assert_eq!(service["cap_drop"][0], "ALL");
        assert_eq!(service["security_opt"][0], "no-new-privileges:true");
    }
    let service = &project["services"]["spoolhouse"];
    let targets: Vec<&Value> = list(service, "volumes").map(|one| &one["target"]).collect();
    assert_eq!(targets, ["/var/lib/spoolhouse/spool"]);
    let set = service["environment"].as_object().unwrap().iter();
    let set: Vec<_> = set
        .map(|(key, value)| (key.into(), value.as_str().unwrap().into()))
        .collect();
    let loaded = spoolhouse::config::parse(None, set).unwrap();
    assert_eq!(loaded.config.kafka.brokers, "kafka:29092");
    assert_eq!(loaded.config.upload.url.as_str(), "http://proxy:8124/");
}

#[test]
fn the_producers_pause_becomes_a_rate_that_produce_takes() {
    let project = project();
    let words = list(&project["services"]["producer"], "entrypoint");
    let words: Vec<&str> = words.map(|word| word.as_str().unwrap()).collect();
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("spoolhouse");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_spoolhouse"), &program).unwrap();
    for (pause, rate) in [
        ("0", 0),
        ("1", 1000),
        ("10", 100),
        ("100", 10),
        ("60000", 1),
    ] {
        // Compose writes $ twice where it means one for the container.
        let script = words[2].replace("$$", "$");
        let script = script.replace("--count 1000000000000", "--count 3 --dry-run --expect rows");
        assert!(script.contains("--dry-run"), "{script}");
        let done = Command::new(words[0])
            .args([words[1], &format!("set -x\n{script}")])
            .env("KAFKA_PRODUCER_DELAY_MS", pause)
            .env("PATH", format!("{}:/usr/bin:/bin", dir.path().display()))
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", said(&done));
        let traced = said(&done);
        assert!(
            traced.contains(&format!("--rate {rate} ")),
            "{pause}: {traced}"
        );
    }
}

/// Every Dockerfile under `ops/`.
fn dockerfiles() -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(repository().join("ops/docker")).into_iter();
    let files = files.map(|entry| entry.unwrap().into_path());
    let files: Vec<PathBuf> = files.filter(|path| path.ends_with("Dockerfile")).collect();
    assert_eq!(files.len(), 2);
    files
}

#[test]
fn hadolint_has_nothing_against_the_images_and_finds_what_is_planted() {
    for file in dockerfiles() {
        let done = validator("hadolint").arg(&file).output().unwrap();
        assert!(done.status.success(), "{}", said(&done));
        let bad = tempfile::NamedTempFile::new().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        fs::write(bad.path(), text + "RUN cd /tmp && sudo true\n").unwrap();
        let done = validator("hadolint").arg(bad.path()).output().unwrap();
        assert!(said(&done).contains("DL3004"), "{}", said(&done));
    }
}

#[test]
fn what_the_images_copy_is_in_the_repository() {
    for (file, context) in [
        ("Dockerfile", "."),
        ("jmx-exporter/Dockerfile", "ops/docker/jmx-exporter"),
    ] {
        let text = read(&format!("ops/docker/{file}"));
        let copies = text.lines().filter_map(|line| line.strip_prefix("COPY "));
        let mut copied = BTreeSet::new();
        for copy in copies.filter(|copy| !copy.starts_with("--from=")) {
            let words: Vec<&str> = copy.split(' ').collect();
            copied.extend(
                words[..words.len() - 1]
                    .iter()
                    .map(|word| (*word).to_owned()),
            );
        }
        assert!(!copied.is_empty());
        for path in copied {
            assert!(
                repository().join(context).join(&path).exists(),
                "{file}: {path}"
            );
        }
    }
}

/// What systemd says of the unit, its program being the one that was built.
fn verify_unit(change: impl FnOnce(String) -> String) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let unit = read("ops/systemd/spoolhouse.service");
    let program = "/usr/local/bin/spoolhouse ";
    assert!(unit.contains(program));
    let built = format!("{} ", env!("CARGO_BIN_EXE_spoolhouse"));
    let file = dir.path().join("spoolhouse.service");
    fs::write(&file, change(unit.replace(program, &built))).unwrap();
    let mut systemd = validator("systemd-analyze");
    // Its page is installed with the program, and not yet.
    systemd.args(["verify", "--man=no"]).arg(file);
    systemd.output().unwrap()
}

#[test]
fn systemd_takes_the_unit_and_finds_what_is_planted() {
    let done = verify_unit(|unit| unit);
    assert!(
        done.status.success() && said(&done).is_empty(),
        "{}",
        said(&done)
    );
    for (from, to) in [
        ("WatchdogSec=", "WatchdgSec="),
        ("Type=notify", "Type=notfy"),
        ("ProtectSystem=strict", "ProtectSystem=strickt"),
        ("RestartSec=5s", "RestartSec=5 parsecs"),
    ] {
        let done = verify_unit(|unit| {
            assert!(unit.contains(from), "{from}");
            unit.replace(from, to)
        });
        assert!(!said(&done).is_empty(), "{to}");
    }
}

#[test]
fn the_unit_exposes_little() {
    let unit = repository().join("ops/systemd/spoolhouse.service");
    // From 0 to 100; a service without any hardening has 96.
    let mut systemd = validator("systemd-analyze");
    systemd.args(["security", "--no-pager", "--offline=true", "--threshold=15"]);
    let done = systemd.arg(unit).output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
}

#[test]
fn a_stop_is_waited_for_longer_than_a_stop_takes() {
    let longest = spoolhouse::config::parse(None, [])
        .unwrap()
        .config
        .run
        .shutdown_after;
    let unit = read("ops/systemd/spoolhouse.service");
    let stop = unit
        .lines()
        .find_map(|line| line.strip_prefix("TimeoutStopSec="));
    assert!(humantime::parse_duration(stop.unwrap()).unwrap() > longest);
    let grace = project()["services"]["spoolhouse"]["stop_grace_period"].clone();
    assert!(humantime::parse_duration(grace.as_str().unwrap()).unwrap() > longest);
}

#[test]
fn nginx_and_prometheus_take_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("nginx.conf");
    let text = read("ops/docker/nginx.conf");
    assert!(text.contains("proxy_pass http://clickhouse:8123;"));
    // The container's name is known inside only.
    let text = text.replace("http://clickhouse:", "http://127.0.0.1:");
    // Its own directories are root's.
    let own = "http { access_log off; client_body_temp_path b; proxy_temp_path p; \
               fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;";
    fs::write(&file, text.replace("http {", own)).unwrap();
    let mut nginx = Command::new("nginx");
    nginx.env(
        "PATH",
        format!("{}:/usr/sbin", std::env::var("PATH").unwrap()),
    );
    nginx.args([
        "-t",
        "-e",
        "stderr",
        "-g",
        "pid nginx.pid; error_log stderr;",
        "-p",
    ]);
    let done = nginx.arg(dir.path()).arg("-c").arg(&file).output().unwrap();
    assert!(done.status.success(), "{}", said(&done));

    let mut promtool = validator("promtool");
    promtool.args(["check", "config", "prometheus.yml"]);
    let done = promtool
        .current_dir(repository().join("ops/prometheus"))
        .output();
    let done = done.unwrap();
    assert!(done.status.success(), "{}", said(&done));
    let targets = read("ops/prometheus/prometheus.yml");
    for name in ["spoolhouse:9464", "jmx-exporter:5556"] {
        assert!(targets.contains(name), "{name}");
    }

    let done = Command::new("bash")
        .args(["-n", "ops/docker/make-tables.sh"])
        .current_dir(repository())
        .output();
    assert!(done.unwrap().status.success());
}
