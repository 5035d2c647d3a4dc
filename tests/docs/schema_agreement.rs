//! Do the wire contract, the spool's columns and the ClickHouse table agree on
//! names, order and types?

use std::fs;
use std::path::Path;

use arrow_schema::DataType;
use spoolhouse::spool::format::schema;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Name, ordinal and type of every field of the Cap'n Proto struct.
fn wire_fields() -> Vec<(String, u16, String)> {
    read("schema/http_log.capnp")
        .lines()
        .filter_map(|line| {
            let line = line.split('#').next()?;
            let (name, rest) = line.split_once('@')?;
            let (ordinal, rest) = rest.split_once(':')?;
            let name = name.trim();
            (!name.is_empty()).then(|| {
                let field_type = rest.trim().trim_end_matches(';').to_owned();
                (name.to_owned(), ordinal.trim().parse().unwrap(), field_type)
            })
        })
        .collect()
}

/// Name and type of every column of `http_log`, as `sql/` creates it.
fn table_columns() -> Vec<(String, String)> {
    let sql: String = read("sql/001_http_log.sql")
        .lines()
        .map(|line| line.split("--").next().unwrap_or_default().trim_end())
        .collect::<Vec<_>>()
        .join("\n");
    let from = sql.find("http_log").unwrap();
    let body = &sql[from + sql[from..].find('(').unwrap() + 1..];
    // The columns end at the first parenthesis that closes more than it opened.
    let mut depth = 0;
    let end = body
        .find(|c| {
            depth += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            depth < 0
        })
        .unwrap();
    body[..end]
        .split(",\n")
        .map(|column| {
            let mut words = column.split_whitespace();
            let name = words.next().unwrap().trim_matches('`').to_owned();
            (name, words.next().unwrap().trim_end_matches(',').to_owned())
        })
        .collect()
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

#[test]
fn the_wire_contract_has_its_nine_ordinals() {
    let fields = wire_fields();
    let ordinals: Vec<u16> = fields.iter().map(|(_, ordinal, _)| *ordinal).collect();
    assert_eq!(ordinals, (0..9).collect::<Vec<u16>>());
    assert!(read("schema/http_log.capnp").contains("@0xf42cd342ff520eca;"));
}

#[test]
fn wire_spool_and_table_agree_on_names_order_and_types() {
    let wire = wire_fields();
    let spool = schema::batch();
    let table = table_columns();
    assert_eq!((wire.len(), spool.fields().len(), table.len()), (9, 9, 9));
    for ((field, column), (table_name, table_type)) in wire.iter().zip(spool.fields()).zip(&table) {
        let (wire_name, _, wire_type) = field;
        let expected = match wire_name.as_str() {
            // Whole seconds: milliseconds are dropped on the way in.
            "timestampEpochMilli" => ("timestamp".to_owned(), DataType::UInt32, "DateTime('UTC')"),
            name => {
                let (data_type, sql) = match (wire_type.as_str(), name) {
                    ("UInt64", _) => (DataType::UInt64, "UInt64"),
                    ("UInt16", _) => (DataType::UInt16, "UInt16"),
                    ("Text", "cacheStatus" | "method") => {
                        (DataType::Utf8, "LowCardinality(String)")
                    }
                    ("Text", _) => (DataType::Utf8, "String"),
                    (other, _) => panic!("{name} has the type {other}, which no column holds"),
                };
                (snake_case(name), data_type, sql)
            }
        };
        assert_eq!(*column.name(), expected.0);
        assert_eq!(*column.data_type(), expected.1, "{wire_name}");
        assert!(!column.is_nullable(), "{wire_name}");
        assert_eq!(*table_name, expected.0);
        assert_eq!(table_type, expected.2, "{wire_name}");
    }
}

#[test]
fn a_segment_adds_the_message_that_a_row_was() {
    let segment = schema::segment();
    assert_eq!(segment.fields()[..9], schema::batch().fields()[..]);
    let added: Vec<&str> = segment.fields()[9..]
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    assert_eq!(added, ["kafka_partition", "kafka_offset"]);
}
