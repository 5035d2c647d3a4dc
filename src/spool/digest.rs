//! Digests that tell a flipped byte, anywhere in a file.
//!
//! A batch carries the SHA-256 of its bytes in its name. A segment's name has
//! no room for one, so it carries its own: the footer holds 64 hex digits, and
//! the digest is that of the whole file with those digits read as zeros.

use parquet::file::metadata::{KeyValue, ParquetMetaData};
use sha2::{Digest, Sha256};

use super::fault::Fault;
use super::footer;

const KEY: &str = "spoolhouse.digest";
const DIGITS: usize = 64;
const BLANK: [u8; DIGITS] = [b'0'; DIGITS];

/// How far behind its key the value may start: Thrift's compact protocol puts a
/// field header and a length between the two.
const KEY_TO_VALUE_MAX: usize = 4;

/// SHA-256 of `bytes`, as 64 lower-case hex digits.
pub fn of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The metadata entry that [`stamp`] fills in; it must be the footer's last.
pub fn blank() -> KeyValue {
    KeyValue::new(KEY.to_owned(), String::from_utf8_lossy(&BLANK).into_owned())
}

/// The digest that a file says it has, unchecked.
pub fn in_footer(metadata: &ParquetMetaData) -> Option<&str> {
    footer::key_value(metadata, KEY)
}

/// Writes the file's digest into the blank that its footer holds.
///
/// # Errors
/// [`Fault::Foreign`] if there is no blank.
pub fn stamp(file: &mut [u8]) -> Result<(), Fault> {
    let place = place(file, |digits| digits == BLANK).ok_or(Fault::Foreign)?;
    let digest = of(file);
    file[place..place + DIGITS].copy_from_slice(digest.as_bytes());
    Ok(())
}

/// Checks a stamped file, byte for byte.
///
/// # Errors
/// [`Fault::Foreign`] if it was never stamped, [`Fault::Digest`] if any byte changed.
pub fn check(file: &[u8]) -> Result<(), Fault> {
    let place =
        place(file, |digits| digits.iter().all(u8::is_ascii_hexdigit)).ok_or(Fault::Foreign)?;
    let mut hash = Sha256::new();
    hash.update(&file[..place]);
    hash.update(BLANK);
    hash.update(&file[place + DIGITS..]);
    if hex::encode(hash.finalize()).as_bytes() == &file[place..place + DIGITS] {
        Ok(())
    } else {
        Err(Fault::Digest)
    }
}

/// Where the digits of the last key are.
fn place(file: &[u8], is_value: impl Fn(&[u8]) -> bool) -> Option<usize> {
    let key = file
        .windows(KEY.len())
        .rposition(|window| window == KEY.as_bytes())?;
    let after = key + KEY.len();
    (after..=after + KEY_TO_VALUE_MAX)
        .find(|&start| file.get(start..start + DIGITS).is_some_and(&is_value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped() -> Vec<u8> {
        let mut file = b"PAR1 data spoolhouse.digest\x18\x40".to_vec();
        file.extend_from_slice(&BLANK);
        file.extend_from_slice(b"\0\0PAR1");
        stamp(&mut file).unwrap();
        file
    }

    #[test]
    fn a_stamped_file_passes() {
        check(&stamped()).unwrap();
    }

    #[test]
    fn one_flipped_bit_anywhere_is_found() {
        let file = stamped();
        for byte in 0..file.len() {
            for bit in 0..8 {
                let mut flipped = file.clone();
                flipped[byte] ^= 1 << bit;
                assert!(check(&flipped).is_err(), "byte {byte}, bit {bit}");
            }
        }
    }
}
