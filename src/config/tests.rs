use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::spool::format::encoding::Encoding;

/// A certificate that nobody uses.
const AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBbzCCARWgAwIBAgIURLZlAkKBgi4ctcXUNPxx/7JI/rwwCgYIKoZIzj0EAwIw\n\
DDEKMAgGA1UEAwwBeDAgFw0yNjExMjMwNTIzMTVaGA8yMTI2MTAzMDA1MjMxNVow\n\
DDEKMAgGA1UEAwwBeDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABKKiiUDPsNRf\n\
yOvj5D/nJsRe4lvksgVGAmonyzSQpcICDsdBxhZaeMJV3Ps/ntA9dTIBZFw/0WjF\n\
77UodVtX/e6jUzBRMB0GA1UdDgQWBBQKJezVfLE4UGMg6/jyPZm6tY0TTDAfBgNV\n\
HSMEGDAWgBQKJezVfLE4UGMg6/jyPZm6tY0TTDAPBgNVHRMBAf8EBTADAQH/MAoG\n\
CCqGSM49BAMCA0gAMEUCIQDEpbVWInGIwmcV2cIhBjKSag9WPeO+/bQotzD77lHX\n\
AQIgaoH0X+HCVPDuU/wVRT6CaN/wsUMNwOjicQOWGzyVLGY=\n\
-----END CERTIFICATE-----\n\n";

fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn from(text: &str, pairs: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    parse(
        Some((Path::new("spoolhouse.toml"), text)),
        environment(pairs),
    )
}

/// The error of a file, as the user sees it.
fn refused(text: &str) -> String {
    from(text, &[]).expect_err("should be refused").to_string()
}

fn refused_variable(name: &str, value: &str) -> String {
    from("", &[(name, value)])
        .expect_err("should be refused")
        .to_string()
}

#[test]
fn without_file_and_environment_the_defaults_hold() {
    let config = parse(None, []).unwrap().config;
    assert_eq!(config.kafka.topic, "http_log");
    assert_eq!(config.kafka.instance_id, None);
    assert_eq!(config.spool.roll_after, Duration::from_secs(5));
    assert_eq!(config.spool.roll_bytes, 4 * 1024 * 1024);
    assert_eq!(config.spool.max_bytes, 10 * 1024 * 1024 * 1024);
    assert_eq!(config.spool.undecodable_max_bytes, 256 * 1024 * 1024);
    assert_eq!(config.spool.undecodable_max_age, None);
    assert_eq!(config.upload.url.as_str(), "http://127.0.0.1:8124/");
    assert_eq!(config.upload.interval, Duration::from_secs(60));
    assert_eq!(config.upload.max_body, 1_048_576);
    assert_eq!(config.upload.encoding, Encoding::Compact);
    assert_eq!(config.upload.pack_effort_ppm, 20_000);
    assert_eq!(config.upload.timeout, Duration::from_secs(180));
    assert_eq!(config.upload.data_retries, 3);
    assert_eq!(config.upload.auth, Auth::Headers);
    assert_eq!(config.observe.listen.to_string(), "127.0.0.1:9464");
}

#[test]
fn every_key_can_be_set_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    std::fs::write(dir.path().join("ca.pem"), AUTHORITY).unwrap();
    let text = format!(
        r#"
        [kafka]
        brokers = "k1:9092, k2"
        topic = "t"
        group = "g"
        instance_id = "i"
        librdkafka = {{ "fetch.min.bytes" = 1, "enable.partition.eof" = true }}
        [spool]
        dir = "{0}"
        roll_after = "2s"
        roll_bytes = "1MiB"
        max_bytes = 4194304
        min_free = "1GiB"
        undecodable_max_bytes = "1MiB"
        undecodable_max_age = "30days"
        [upload]
        url = "https://proxy/click"
        database = "d"
        table = "t"
        user = "u"
        password_file = "{0}/password"
        interval = "1m"
        max_body = "1MB"
        encoding = "compatible"
        pack_effort = "0.5%"
        timeout = "5m"
        data_retries = 7
        auth = "basic"
        ca_file = "{0}/ca.pem"
        settings = {{ async_insert = true, max_insert_threads = 2, wait_end_of_query = "" }}
        [observe]
        listen = "[::1]:80"
        [run]
        shutdown_after = "30s"
        "#,
        dir.path().display()
    );
    let loaded = from(&text, &[]).unwrap();
    let Config {
        kafka,
        spool,
        upload,
        observe,
        run,
    } = &loaded.config;
    assert_eq!(kafka.librdkafka["fetch.min.bytes"], "1");
    assert_eq!(kafka.librdkafka["enable.partition.eof"], "true");
    assert_eq!(spool.max_bytes, 4_194_304);
    assert_eq!(upload.max_body, 1_000_000);
    assert_eq!(upload.encoding, Encoding::Compatible);
    assert_eq!(upload.pack_effort_ppm, 5_000);
    assert_eq!(upload.timeout, Duration::from_secs(300));
    assert_eq!(upload.data_retries, 7);
    assert_eq!(upload.auth, Auth::Basic);
    assert_eq!(upload.settings["async_insert"], "1");
    assert_eq!(upload.settings["max_insert_threads"], "2");
    assert_eq!(upload.settings["wait_end_of_query"], "");
    assert_eq!(upload.password_file.as_ref(), Some(&password));
    assert_eq!(observe.listen.port(), 80);
    assert_eq!(spool.min_free, 1 << 30);
    assert_eq!(run.shutdown_after, std::time::Duration::from_secs(30));
    for key in KEYS.iter().filter(|key| !sources::FREE.contains(key)) {
        assert!(matches!(loaded.origin(key), Origin::File { .. }), "{key}");
    }
}

#[test]
fn the_limits_of_undecodable_messages_are_checked() {
    let error = refused("[spool]\nundecodable_max_age = \"1s\"");
    assert!(error.contains("1s is less than 1m"), "{error}");
    let error = refused("[spool]\nundecodable_max_bytes = 0");
    assert!(error.contains("is not between 64.0 KiB"), "{error}");
    let set = from("[spool]\nundecodable_max_age = \"2h\"", &[]).unwrap();
    let age = set.config.spool.undecodable_max_age;
    assert_eq!(age, Some(Duration::from_secs(7_200)));
}

#[test]
fn the_list_of_keys_and_the_typed_shape_agree() {
    for section in ["kafka", "spool", "upload", "observe", "run"] {
        let mut table = toml::Table::new();
        let unknown = [("\u{0}".to_owned(), toml::Value::Boolean(true))];
        table.insert(
            section.into(),
            toml::Value::Table(unknown.into_iter().collect()),
        );
        let error = serde_path_to_error::deserialize::<_, Typed>(toml::Value::Table(table));
        let error = error.unwrap_err().into_inner();
        let (_, expected) = error.message().split_once("expected ").unwrap();
        let names = expected.split('`').skip(1).step_by(2);
        let typed: Vec<String> = names.map(|name| format!("{section}.{name}")).collect();
        let listed = KEYS
            .iter()
            .filter(|key| key.starts_with(&format!("{section}.")));
        assert_eq!(typed, listed.map(|key| key.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn the_environment_lies_over_the_file() {
    let text = "[upload]\nmax_body = \"2MiB\"\ntable = \"t\"\n";
    let loaded = from(
        text,
        &[("SPOOLHOUSE_UPLOAD__MAX_BODY", "1MiB"), ("HOME", "/")],
    )
    .unwrap();
    assert_eq!(loaded.config.upload.max_body, 1_048_576);
    let variable = "SPOOLHOUSE_UPLOAD__MAX_BODY";
    assert_eq!(
        loaded.origin("upload.max_body"),
        Origin::Environment(variable.into())
    );
    assert_eq!(
        loaded.origin("upload.table").to_string(),
        "spoolhouse.toml:3"
    );
    assert_eq!(loaded.origin("upload.url"), Origin::Default);
    assert_eq!(variable_of("upload.max_body"), variable);
}

#[test]
fn free_tables_can_be_set_in_the_environment_too() {
    let text = "[kafka.librdkafka]\nfetch.min.bytes = 1\n\"fetch.max.bytes\" = 2\n";
    let variables = [
        ("SPOOLHOUSE_KAFKA__LIBRDKAFKA__FETCH_MIN_BYTES", "9"),
        ("SPOOLHOUSE_UPLOAD__SETTINGS__ASYNC_INSERT", ""),
    ];
    let config = from(text, &variables).unwrap().config;
    assert_eq!(config.kafka.librdkafka["fetch.min.bytes"], "9");
    assert_eq!(config.kafka.librdkafka["fetch.max.bytes"], "2");
    assert_eq!(config.upload.settings["async_insert"], "");
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_one() {
    assert_eq!(
        refused("[upload]\n\nintervall = \"60s\"\n"),
        "upload.intervall (spoolhouse.toml:3): there is no such key, did you mean upload.interval?"
    );
    assert_eq!(
        refused("[upload]\nlisten = \"127.0.0.1:1\"\n"),
        "upload.listen (spoolhouse.toml:2): there is no such key, did you mean observe.listen?"
    );
    assert_eq!(
        refused("[spool]\ncolour = 1\n"),
        "spool.colour (spoolhouse.toml:2): there is no such key"
    );
}

#[test]
fn an_unknown_section_is_refused() {
    assert_eq!(
        refused("[kafak]\nbrokers = \"k\"\n"),
        "[kafak] (spoolhouse.toml:1): there is no such section, did you mean kafka?"
    );
    assert_eq!(
        refused("kafka = 1"),
        "kafka (spoolhouse.toml:1): this is a section: write [kafka]"
    );
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest_one() {
    assert_eq!(
        refused_variable("SPOOLHOUSE_KAFKA_BROKERS", "k"),
        "SPOOLHOUSE_KAFKA_BROKERS: no key belongs to this environment variable, \
         did you mean SPOOLHOUSE_KAFKA__BROKERS?"
    );
    for name in [
        "SPOOLHOUSE_X",
        "SPOOLHOUSE_UPLOAD__URL__X",
        "SPOOLHOUSE_UPLOAD__SETTINGS",
    ] {
        assert!(
            refused_variable(name, "1").starts_with(&format!("{name}: no key")),
            "{name}"
        );
    }
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_its_line() {
    let error = refused("[spool]\ndir = \n");
    assert!(
        error.starts_with("spoolhouse.toml:2: not valid TOML: "),
        "{error}"
    );
    assert!(!error.contains('\n'));
    let error = refused("[spool]\ndir = \"a\"\ndir = \"b\"\n");
    assert!(
        error.starts_with("spoolhouse.toml:3: not valid TOML: "),
        "{error}"
    );
}

#[test]
fn a_value_of_the_wrong_type_names_key_and_place() {
    let table = [
        (
            "[spool]\nroll_after = 5",
            "spool.roll_after (spoolhouse.toml:2): 5 has no unit",
        ),
        (
            "[spool]\nroll_after = \"5\"",
            "spool.roll_after (spoolhouse.toml:2): \"5\" is no duration",
        ),
        (
            "[spool]\nroll_bytes = \"4MoB\"",
            "spool.roll_bytes (spoolhouse.toml:2): \"4MoB\" is no size",
        ),
        (
            "[spool]\nroll_bytes = -1",
            "spool.roll_bytes (spoolhouse.toml:2): -1 is no size",
        ),
        (
            "[kafka]\ntopic = 1",
            "kafka.topic (spoolhouse.toml:2): invalid type: integer `1`",
        ),
        (
            "[kafka]\nlibrdkafka = 1",
            "kafka.librdkafka (spoolhouse.toml:2): this is a table",
        ),
        (
            "[upload.settings]\nx = [1]",
            "upload.settings.x (spoolhouse.toml:2): must be a string, a number or a boolean",
        ),
        (
            "[kafka.librdkafka]\nfetch.min.bytes = [1]",
            "kafka.librdkafka.fetch.min.bytes (spoolhouse.toml:2): must be a string",
        ),
    ];
    for (text, expected) in table {
        let error = refused(text);
        assert!(error.starts_with(expected), "{error}");
    }
    for share in ["2", "101%", "-1%", "%", "a lot"] {
        let error = refused_variable("SPOOLHOUSE_UPLOAD__PACK_EFFORT", share);
        assert!(error.contains("is no share between"), "{error}");
    }
    assert!(refused("[upload]\nencoding = \"best\"").contains("`compact` or `compatible`"));
    assert_eq!(
        refused_variable("SPOOLHOUSE_UPLOAD__MAX_BODY", "big"),
        "upload.max_body (SPOOLHOUSE_UPLOAD__MAX_BODY): \"big\" is no size such as \"1MiB\" or \
         1048576 (bytes)"
    );
}

#[test]
fn a_value_out_of_range_names_key_and_range() {
    assert_eq!(
        refused("[spool]\nroll_after = \"10m\""),
        "spool.roll_after (spoolhouse.toml:2): 10m is not between 100ms and 1m"
    );
    let table = [
        ("[spool]\nroll_bytes = 10", "spool.roll_bytes"),
        ("[spool]\nmax_bytes = \"8MiB\"", "spool.max_bytes"),
        ("[upload]\ninterval = \"0s\"", "upload.interval"),
        ("[upload]\nmax_body = \"2GiB\"", "upload.max_body"),
        ("[upload]\ntimeout = \"1ms\"", "upload.timeout"),
        ("[upload]\ndata_retries = 0", "upload.data_retries"),
        ("[kafka]\nbrokers = \"\"", "kafka.brokers"),
        ("[kafka]\nbrokers = \"k1:9092,:1\"", "kafka.brokers"),
        ("[kafka]\nbrokers = \"k1:port\"", "kafka.brokers"),
        ("[kafka]\ntopic = \"a b\"", "kafka.topic"),
        ("[kafka]\ngroup = \"\"", "kafka.group"),
        ("[kafka]\ninstance_id = \"\"", "kafka.instance_id"),
        ("[upload]\ntable = \"\"", "upload.table"),
        ("[upload]\nuser = \"\"", "upload.user"),
        ("[observe]\nlisten = \"9464\"", "observe.listen"),
        ("[spool]\ndir = \"\"", "spool.dir"),
    ];
    for (text, key) in table {
        let error = refused(text);
        assert!(
            error.starts_with(&format!("{key} (spoolhouse.toml:2): ")),
            "{error}"
        );
    }
}

#[test]
fn a_url_with_a_password_is_refused_without_showing_it() {
    for url in [
        "http://u:hunter2@proxy/",
        "http://proxy/?password=hunter2",
        "ftp://hunter2/",
    ] {
        let error = refused(&format!("[upload]\nurl = \"{url}\""));
        assert!(
            error.starts_with("upload.url (spoolhouse.toml:2): must "),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
    }
    assert!(refused("[upload]\nurl = \"proxy\"").contains("not a URL such as"));
}

#[test]
fn what_the_promise_depends_on_is_not_for_the_configuration_to_set() {
    let error = refused("[kafka.librdkafka]\n\"enable.auto.commit\" = true");
    let expected = "kafka.librdkafka.enable.auto.commit (spoolhouse.toml:2): is not for";
    assert!(error.starts_with(expected), "{error}");
    let error = refused_variable(
        "SPOOLHOUSE_UPLOAD__SETTINGS__INSERT_DEDUPLICATION_TOKEN",
        "x",
    );
    assert!(
        error.starts_with("upload.settings.insert_deduplication_token ("),
        "{error}"
    );
}

#[test]
fn a_directory_that_cannot_be_reached_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = refused(&format!("[spool]\ndir = \"{}\"", path.display()));
        assert!(
            error.starts_with("spool.dir (spoolhouse.toml:2): can't use the"),
            "{error}"
        );
    }
    let fresh = dir.path().join("not/yet/there");
    assert!(from(&format!("[spool]\ndir = \"{}\"", fresh.display()), &[]).is_ok());
    assert!(!fresh.exists());
}

#[test]
fn a_password_file_must_be_readable_and_have_a_user() {
    let error = refused("[upload]\nuser = \"u\"\npassword_file = \"/nowhere/password\"");
    assert!(
        error.starts_with("upload.password_file (spoolhouse.toml:3): can't read"),
        "{error}"
    );
    let error = refused("[upload]\npassword_file = \"/dev/null\"");
    assert!(error.contains("upload.user is not"), "{error}");
}

#[test]
fn a_file_that_was_named_must_exist() {
    let error = load(Some(Path::new("/nowhere/spoolhouse.toml")), [])
        .unwrap_err()
        .to_string();
    let expected = "can't read the configuration file /nowhere/spoolhouse.toml: ";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn debugging_output_holds_no_password_of_kafka() {
    let text = "[kafka.librdkafka]\nsasl.password = \"hunter2\"";
    let shown = format!("{:?}", from(text, &[]).unwrap());
    assert!(
        shown.contains("sasl.password") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn a_value_that_fails_later_is_blamed_on_its_origin() {
    let loaded = from("[spool]\ndir = \"s\"", &[]).unwrap();
    assert_eq!(
        loaded.blame("spool.dir", "in use by pid 7").to_string(),
        "spool.dir (spoolhouse.toml:2): in use by pid 7"
    );
}
