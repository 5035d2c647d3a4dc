//! Digests that tell a flipped byte, anywhere in a file.
//!
//! A batch carries the SHA-256 of its bytes in its name. A segment's name has
//! no room for one, so it carries its own: the footer holds 64 hex digits, and
//! the digest is that of the whole file with those digits read as zeros.

use std::io::{self, Read};

use parquet::file::metadata::{KeyValue, ParquetMetaData};
use sha2::{Digest, Sha256};

use super::error::Fault;
use super::metadata::key_value;

const KEY: &str = "spoolhouse.digest";
const DIGITS: usize = 64;
const BLANK: [u8; DIGITS] = [b'0'; DIGITS];

/// How much of a stream is looked at at once.
const CHUNK_BYTES: usize = 64 * 1024;

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

/// SHA-256 of all that `from` gives, as 64 lower-case hex digits, a little at a
/// time. With `stamped_at` the digits that begin there are read as zeros.
///
/// # Errors
/// The reader's.
pub fn of_stream(mut from: impl Read, stamped_at: Option<u64>) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut begin = 0_u64;
    loop {
        let read = match from.read(&mut chunk) {
            Ok(0) => return Ok(hex::encode(hash.finalize())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let end = begin + read as u64;
        if let Some(digits) = stamped_at {
            let both = digits.max(begin)..(digits + DIGITS as u64).min(end);
            for place in both {
                chunk[(place - begin) as usize] = BLANK[0];
            }
        }
        hash.update(&chunk[..read]);
        begin = end;
    }
}

/// Where in the last bytes of a file the digits of its stamp begin.
pub fn stamp_in(end: &[u8]) -> Option<usize> {
    place(end, |digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// The digest that a file says it has, unchecked.
pub fn in_footer(metadata: &ParquetMetaData) -> Option<&str> {
    key_value(metadata, KEY)
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
    let place = stamp_in(file).ok_or(Fault::Foreign)?;
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
    fn a_stream_has_the_digest_of_the_whole_however_it_is_cut() {
        let file = stamped();
        let place = stamp_in(&file).unwrap();
        let said = String::from_utf8(file[place..place + DIGITS].to_vec()).unwrap();
        let mut long = vec![7; CHUNK_BYTES - DIGITS / 2];
        for (begin, file) in [
            (0, file.clone()),
            (long.len(), {
                long.extend_from_slice(&file);
                stamp_anew(&mut long);
                long.clone()
            }),
        ] {
            let at = (begin + place) as u64;
            let whole = of_stream(&file[..], Some(at)).unwrap();
            assert_eq!(whole.as_bytes(), &file[begin + place..][..DIGITS]);
            assert_eq!(of_stream(&file[..], None).unwrap(), of(&file));
        }
        assert_eq!(of_stream(&file[..], Some(place as u64)).unwrap(), said);
    }

    fn stamp_anew(file: &mut [u8]) {
        let place = stamp_in(file).unwrap();
        file[place..place + DIGITS].copy_from_slice(&BLANK);
        stamp(file).unwrap();
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
