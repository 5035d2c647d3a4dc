//! What an outcome means for the batch: where it goes, given what happened to it
//! before. A function from values to values, for the send loop and for the
//! simulated crashes alike.
//!
//! Invariant: a batch that an attempt may have stored never changes its bytes,
//! its token or its settings. It goes again as it is, or to `doubtful/`.

use super::error_codes;
use super::{Outcome, Reason, Refusal};
use crate::spool::format::encoding::Encoding;
use crate::spool::format::footer::BatchFooter;
use crate::spool::quarantine;
use crate::upload::settings::Settings;

/// Why a batch that may be stored can't go again, and what to do, in words for an
/// operator: the proxy's body limit fell below it,
const TOO_LARGE: &str = ", so it can't be split, and the proxy's body limit no longer admits it: \
    raise client_max_body_size, or look in ClickHouse whether its rows are there";
/// the server can't read it,
const UNREADABLE: &str = ", so it can't be packed anew under upload.encoding as it is configured \
    now, and the server can't read it as it is: look in ClickHouse whether its rows are there";
/// or the server no longer knows a setting that it was posted with.
const UNKNOWN_SETTING: &str = " under settings that the server does not know now: upload.url may \
    lead to another server than then; look in ClickHouse whether its rows are there";

fn may_be_stored(why: &str) -> quarantine::Doubt {
    quarantine::Doubt::MayBeStored(why.to_owned())
}

/// What happened to a batch so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// How often this process posted it.
    pub attempts: u32,
    /// How often its data was refused.
    pub data_refusals: u32,
    /// Whether an attempt, of this process or an earlier one, may have stored it.
    pub may_be_stored: bool,
}

/// What is configured, as far as it decides over a batch.
#[derive(Clone, Copy, Debug)]
pub struct Configured<'a> {
    /// The settings that the next batch gets.
    pub settings: &'a Settings,
    /// The encoding that the next batch gets.
    pub encoding: Encoding,
    /// After so many refusals of its data a batch goes aside; at least 1.
    pub data_attempts_max: u32,
}

/// What is to be done with a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The same bytes under the same token at the next slot.
    Again,
    /// Every attempt was refused: it waits in `batches/`, and a start that is
    /// configured otherwise may pack it anew.
    AgainRecalled,
    /// ClickHouse has every row.
    Remove,
    /// Over the body limit, and no attempt can have stored it.
    Split,
    /// Refused for its data, often enough.
    Reject(Reason),
    /// No rule can decide.
    Doubt(quarantine::Doubt),
}

impl History {
    /// Notes an attempt's outcome and says what follows from it.
    pub fn judge(
        &mut self,
        outcome: &Outcome,
        batch: &BatchFooter,
        now: Configured<'_>,
    ) -> Disposition {
        self.attempts = self.attempts.saturating_add(1);
        match outcome {
            Outcome::Stored => Disposition::Remove,
            Outcome::Throttled { .. } | Outcome::NotSent(_) => Disposition::Again,
            Outcome::Unknown(reason) => {
                self.may_be_stored |= reason.may_be_stored;
                Disposition::Again
            }
            Outcome::TooLarge if self.may_be_stored => Disposition::Doubt(may_be_stored(TOO_LARGE)),
            Outcome::TooLarge => Disposition::Split,
            Outcome::Refused(refusal) => self.refused(refusal, batch, now),
        }
    }

    fn refused(
        &mut self,
        refusal: &Refusal,
        batch: &BatchFooter,
        now: Configured<'_>,
    ) -> Disposition {
        let was_unknown = self.may_be_stored;
        let (Refusal::Operator(reason) | Refusal::Format(reason) | Refusal::Data(reason)) = refusal;
        self.may_be_stored |= reason.may_be_stored;
        match refusal {
            // Under other settings it could be stored twice, under these never.
            Refusal::Operator(reason)
                if was_unknown
                    && reason.code == Some(error_codes::UNKNOWN_SETTING)
                    && batch.settings != *now.settings =>
            {
                Disposition::Doubt(may_be_stored(UNKNOWN_SETTING))
            }
            Refusal::Format(_) if was_unknown && batch.encoding != now.encoding => {
                Disposition::Doubt(may_be_stored(UNREADABLE))
            }
            Refusal::Operator(_) => self.held(),
            Refusal::Format(_) if batch.encoding.is_compact() => self.held(),
            Refusal::Format(reason) | Refusal::Data(reason) => {
                self.data_refusals += 1;
                match self.data_refusals < now.data_attempts_max {
                    true => Disposition::Again,
                    false => Disposition::Reject(reason.clone()),
                }
            }
        }
    }

    /// An operator has to see to it first.
    fn held(&self) -> Disposition {
        match self.may_be_stored {
            true => Disposition::Again,
            false => Disposition::AgainRecalled,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uuid::Uuid;

    use super::*;
    use crate::spool::format::footer::Source;

    fn reason(code: Option<u16>, may_be_stored: bool) -> Reason {
        Reason {
            status: Some(400),
            code,
            may_be_stored,
            message: "no".to_owned(),
        }
    }

    fn unknown() -> Outcome {
        Outcome::Unknown(reason(None, true))
    }

    fn operator(code: u16) -> Outcome {
        Outcome::Refused(Refusal::Operator(reason(Some(code), false)))
    }

    fn unreadable() -> Outcome {
        Outcome::Refused(Refusal::Format(reason(Some(33), false)))
    }

    fn bad_data() -> Outcome {
        Outcome::Refused(Refusal::Data(reason(Some(6), false)))
    }

    /// What is configured against what a batch was frozen with.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Now {
        Same,
        OtherSettings,
        OtherEncoding,
        BothCompatible,
    }

    /// What becomes of a batch with these outcomes, one after the other.
    fn fates(now: Now, outcomes: &[Outcome]) -> Vec<Disposition> {
        let frozen = Settings::from([("async_insert".to_owned(), "0".to_owned())]);
        let batch = BatchFooter {
            spool: Uuid::from_u128(1),
            rows: 1,
            source: Source {
                cluster: "c".to_owned(),
                topic: "t".to_owned(),
                topic_id: "i".to_owned(),
            },
            covers: Vec::new(),
            offsets: BTreeMap::new(),
            settings: frozen.clone(),
            encoding: match now {
                Now::BothCompatible => Encoding::Compatible,
                _ => Encoding::Compact,
            },
            split_from: None,
        };
        let now = Configured {
            settings: match now {
                Now::OtherSettings => &Settings::new(),
                _ => &frozen,
            },
            encoding: match now {
                Now::OtherEncoding | Now::BothCompatible => Encoding::Compatible,
                _ => Encoding::Compact,
            },
            data_attempts_max: 2,
        };
        let mut history = History::default();
        outcomes
            .iter()
            .map(|outcome| history.judge(outcome, &batch, now))
            .collect()
    }

    #[test]
    fn only_stored_removes_and_what_used_no_slot_goes_again() {
        let throttled = Outcome::Throttled { retry_after: None };
        let not_sent = Outcome::NotSent(reason(None, false));
        let seen = fates(
            Now::Same,
            &[throttled, not_sent, unknown(), Outcome::Stored],
        );
        assert_eq!(
            seen,
            [
                Disposition::Again,
                Disposition::Again,
                Disposition::Again,
                Disposition::Remove
            ]
        );
    }

    #[test]
    fn too_large_is_split_unless_an_attempt_may_have_stored_it() {
        assert_eq!(fates(Now::Same, &[Outcome::TooLarge]), [Disposition::Split]);
        let seen = fates(Now::Same, &[unknown(), Outcome::TooLarge]);
        assert_eq!(seen[1], Disposition::Doubt(may_be_stored(TOO_LARGE)));
    }

    #[test]
    fn an_operators_fault_holds_the_line_however_often_it_comes() {
        for refusal in [operator(60), unreadable()] {
            let seen = fates(Now::Same, &vec![refusal; 100]);
            assert!(seen.iter().all(|fate| *fate == Disposition::AgainRecalled));
        }
    }

    #[test]
    fn what_may_be_stored_is_not_recalled() {
        let seen = fates(Now::Same, &[unknown(), operator(60), unreadable()]);
        assert_eq!(
            seen,
            [Disposition::Again, Disposition::Again, Disposition::Again]
        );
    }

    #[test]
    fn a_change_of_the_configuration_after_an_unknown_fate_is_for_a_person() {
        let unknown_setting = operator(error_codes::UNKNOWN_SETTING);
        let seen = fates(Now::OtherSettings, &[unknown(), unknown_setting.clone()]);
        assert_eq!(seen[1], Disposition::Doubt(may_be_stored(UNKNOWN_SETTING)));
        let seen = fates(Now::OtherEncoding, &[unknown(), unreadable()]);
        assert_eq!(seen[1], Disposition::Doubt(may_be_stored(UNREADABLE)));
        // Without one, and for another reason, it goes again.
        let seen = fates(Now::OtherSettings, &[unknown(), operator(60)]);
        assert_eq!(seen[1], Disposition::Again);
        let seen = fates(Now::OtherSettings, &[unknown_setting]);
        assert_eq!(seen[0], Disposition::AgainRecalled);
    }

    #[test]
    fn data_goes_aside_after_its_attempts_and_a_plain_file_counts_as_data() {
        let aside = Disposition::Reject(reason(Some(6), false));
        let seen = fates(Now::Same, &[bad_data(), bad_data()]);
        assert_eq!(seen, [Disposition::Again, aside]);
        let seen = fates(Now::BothCompatible, &[unreadable(), unreadable()]);
        assert_eq!(
            seen,
            [
                Disposition::Again,
                Disposition::Reject(reason(Some(33), false))
            ]
        );
    }

    #[test]
    fn a_refusal_that_may_have_stored_rows_counts_as_unknown_from_then_on() {
        let half = Outcome::Refused(Refusal::Data(reason(Some(6), true)));
        let seen = fates(Now::Same, &[half, Outcome::TooLarge]);
        assert_eq!(seen[1], Disposition::Doubt(may_be_stored(TOO_LARGE)));
    }
}
