//! What ClickHouse's exception codes mean for a batch.
//!
//! One table, by number: messages change between versions, codes don't. Numbers
//! and names are those of ClickHouse's `src/Common/ErrorCodes.cpp`; which of them
//! pass by themselves follows the official Kafka Connect sink's list.

/// Who has to act on an exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It passes by itself, or nobody knows what became of the insert: post the
    /// same bytes again.
    Transient,
    /// The server, its tables or our configuration: an operator can fix it, and
    /// every other batch would be refused as well.
    Operator,
    /// The rows of this batch.
    Data,
}

/// One exception code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// ClickHouse's number.
    pub number: u16,
    /// ClickHouse's name for it.
    pub name: &'static str,
    /// Who has to act.
    pub class: Class,
    /// Whether the code is raised before the first row is written. Others may
    /// come from a materialized view after the table itself has its part.
    pub nothing_stored: bool,
}

const fn transient(number: u16, name: &'static str) -> Code {
    Code {
        number,
        name,
        class: Class::Transient,
        nothing_stored: false,
    }
}

/// Refused while the request was being looked at.
const fn at_the_door(number: u16, name: &'static str) -> Code {
    Code {
        number,
        name,
        class: Class::Operator,
        nothing_stored: true,
    }
}

const fn operator(number: u16, name: &'static str) -> Code {
    Code {
        number,
        name,
        class: Class::Operator,
        nothing_stored: false,
    }
}

const fn data(number: u16, name: &'static str) -> Code {
    Code {
        number,
        name,
        class: Class::Data,
        nothing_stored: false,
    }
}

/// A setting newer than the server.
pub const UNKNOWN_SETTING: u16 = 115;

/// All codes with a meaning of their own, by number.
pub const CODES: &[Code] = &[
    // A body that arrived cut: the bytes on disk are whole, so post them again.
    transient(3, "UNEXPECTED_END_OF_FILE"),
    data(6, "CANNOT_PARSE_TEXT"),
    operator(7, "INCORRECT_NUMBER_OF_COLUMNS"),
    // The columns of table and file differ: true for every batch alike.
    operator(8, "THERE_IS_NO_COLUMN"),
    operator(10, "NOT_FOUND_COLUMN_IN_BLOCK"),
    at_the_door(16, "NO_SUCH_COLUMN_IN_TABLE"),
    operator(20, "NUMBER_OF_COLUMNS_DOESNT_MATCH"),
    data(26, "CANNOT_PARSE_QUOTED_STRING"),
    data(27, "CANNOT_PARSE_INPUT_ASSERTION_FAILED"),
    transient(32, "ATTEMPT_TO_READ_AFTER_EOF"),
    data(33, "CANNOT_READ_ALL_DATA"),
    operator(36, "BAD_ARGUMENTS"),
    data(38, "CANNOT_PARSE_DATE"),
    data(41, "CANNOT_PARSE_DATETIME"),
    operator(43, "ILLEGAL_TYPE_OF_ARGUMENT"),
    operator(44, "ILLEGAL_COLUMN"),
    operator(46, "UNKNOWN_FUNCTION"),
    operator(47, "UNKNOWN_IDENTIFIER"),
    operator(48, "NOT_IMPLEMENTED"),
    operator(50, "UNKNOWN_TYPE"),
    operator(53, "TYPE_MISMATCH"),
    operator(60, "UNKNOWN_TABLE"),
    at_the_door(62, "SYNTAX_ERROR"),
    data(69, "ARGUMENT_OUT_OF_BOUND"),
    operator(70, "CANNOT_CONVERT_TYPE"),
    data(72, "CANNOT_PARSE_NUMBER"),
    // A server without Parquet, such as Debian's 18.16.
    at_the_door(73, "UNKNOWN_FORMAT"),
    operator(80, "INCORRECT_QUERY"),
    at_the_door(81, "UNKNOWN_DATABASE"),
    transient(95, "CANNOT_READ_FROM_SOCKET"),
    transient(96, "CANNOT_WRITE_TO_SOCKET"),
    transient(107, "FILE_DOESNT_EXIST"),
    at_the_door(UNKNOWN_SETTING, "UNKNOWN_SETTING"),
    data(117, "INCORRECT_DATA"),
    operator(122, "INCOMPATIBLE_COLUMNS"),
    data(128, "TOO_LARGE_ARRAY_SIZE"),
    data(131, "TOO_LARGE_STRING_SIZE"),
    transient(159, "TIMEOUT_EXCEEDED"),
    transient(160, "TOO_SLOW"),
    // A user or a server in read-only mode: it stays so until somebody acts.
    at_the_door(164, "READONLY"),
    transient(173, "CANNOT_ALLOCATE_MEMORY"),
    at_the_door(192, "UNKNOWN_USER"),
    at_the_door(193, "WRONG_PASSWORD"),
    at_the_door(194, "REQUIRED_PASSWORD"),
    at_the_door(195, "IP_ADDRESS_NOT_ALLOWED"),
    transient(198, "DNS_ERROR"),
    // QUOTA_EXPIRED in old servers: passes with the quota's interval.
    transient(201, "QUOTA_EXCEEDED"),
    transient(202, "TOO_MANY_SIMULTANEOUS_QUERIES"),
    transient(203, "NO_FREE_CONNECTION"),
    transient(209, "SOCKET_TIMEOUT"),
    transient(210, "NETWORK_ERROR"),
    // Our query id names the batch: an earlier attempt is still at work.
    transient(216, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING"),
    operator(218, "TABLE_IS_DROPPED"),
    transient(225, "NO_ZOOKEEPER"),
    transient(236, "ABORTED"),
    transient(241, "MEMORY_LIMIT_EXCEEDED"),
    // A replica that lost its keeper; it comes back by itself.
    transient(242, "TABLE_IS_READ_ONLY"),
    transient(243, "NOT_ENOUGH_SPACE"),
    transient(244, "UNEXPECTED_ZOOKEEPER_ERROR"),
    // Merges are behind. With max_partitions_per_insert_block=0 it can't mean
    // "too many partitions in one insert".
    transient(252, "TOO_MANY_PARTS"),
    transient(254, "NO_ACTIVE_REPLICAS"),
    data(271, "CANNOT_DECOMPRESS"),
    transient(279, "ALL_CONNECTION_TRIES_FAILED"),
    transient(285, "TOO_FEW_LIVE_REPLICAS"),
    transient(286, "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE"),
    transient(289, "REPLICA_IS_NOT_IN_QUORUM"),
    transient(290, "LIMIT_EXCEEDED"),
    at_the_door(291, "DATABASE_ACCESS_DENIED"),
    transient(319, "UNKNOWN_STATUS_OF_INSERT"),
    data(321, "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE"),
    operator(344, "SUPPORT_IS_DISABLED"),
    data(349, "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN"),
    at_the_door(381, "HTTP_LENGTH_REQUIRED"),
    transient(394, "QUERY_WAS_CANCELLED"),
    // What `throwIf` in a view raises.
    data(395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
    transient(415, "ALL_REPLICAS_LOST"),
    transient(425, "SYSTEM_ERROR"),
    transient(439, "CANNOT_SCHEDULE_TASK"),
    at_the_door(452, "SETTING_CONSTRAINT_VIOLATION"),
    data(469, "VIOLATED_CONSTRAINT"),
    at_the_door(471, "INVALID_SETTING_VALUE"),
    at_the_door(472, "READONLY_SETTING"),
    transient(473, "DEADLOCK_AVOIDED"),
    at_the_door(497, "ACCESS_DENIED"),
    at_the_door(516, "AUTHENTICATION_FAILED"),
    data(636, "CANNOT_EXTRACT_TABLE_STRUCTURE"),
    transient(745, "SERVER_OVERLOADED"),
    transient(999, "KEEPER_EXCEPTION"),
    transient(1000, "POCO_EXCEPTION"),
    transient(1001, "STD_EXCEPTION"),
    transient(1002, "UNKNOWN_EXCEPTION"),
];

/// The entry of an exception code, if it has one.
pub fn lookup(number: u16) -> Option<&'static Code> {
    let found = CODES
        .binary_search_by_key(&number, |code| code.number)
        .ok()?;
    CODES.get(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_names_each_code_once() {
        assert!(CODES.is_sorted_by(|a, b| a.number < b.number));
    }

    #[test]
    fn all_that_the_official_sink_retries_is_transient_but_read_only_mode() {
        let sink = [
            3, 107, 159, 202, 203, 209, 210, 241, 242, 252, 285, 319, 425, 999,
        ];
        for number in sink {
            assert_eq!(lookup(number).unwrap().class, Class::Transient, "{number}");
        }
        assert_eq!(lookup(164).unwrap().class, Class::Operator);
    }

    #[test]
    fn only_what_is_refused_at_the_door_is_certain_to_have_stored_nothing() {
        for code in CODES.iter().filter(|code| code.nothing_stored) {
            assert_eq!(code.class, Class::Operator, "{}", code.name);
        }
    }
}
