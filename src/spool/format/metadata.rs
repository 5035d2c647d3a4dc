//! The metadata at the end of a Parquet file: where it lies, how it is read without
//! the rest, and the value of a key in it. Untrusted: what is too long to be ours is
//! not read.

use std::io;
use std::path::Path;

use bytes::Bytes;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::error::Fault;
use crate::spool::disk::Disk;

/// How many bytes at the end of a file are read at first, in search of its footer:
/// more than the footers of most of ours take.
const READ_FIRST_BYTES: u64 = 8 * 1024;

/// Value of a metadata key.
pub fn key_value<'m>(metadata: &'m ParquetMetaData, key: &str) -> Option<&'m str> {
    metadata
        .file_metadata()
        .key_value_metadata()?
        .iter()
        .find(|entry| entry.key == key)?
        .value
        .as_deref()
}

/// The longest footer that is read from a file's end: ours take a few KiB, and a
/// length that somebody wrote there must not fill the memory.
pub const FOOTER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Length and magic at the very end of a Parquet file.
const TAIL_BYTES: u64 = 8;

/// Parses the Parquet metadata out of a whole file's bytes.
pub fn parse(bytes: &Bytes) -> Result<ParquetMetaData, Fault> {
    parse_end(bytes.len() as u64, bytes)
}

/// How many bytes at the end of a file of `size` the footer takes, given at
/// least the last eight of them.
pub fn length_in(size: u64, end: &[u8]) -> Result<u64, Fault> {
    let tail = end.last_chunk::<{ TAIL_BYTES as usize }>();
    let Some([a, b, c, d, b'P', b'A', b'R', b'1']) = tail else {
        return Err(Fault::Torn);
    };
    let length = u64::from(u32::from_le_bytes([*a, *b, *c, *d])) + TAIL_BYTES;
    if length > size {
        return Err(Fault::Torn);
    }
    Ok(length)
}

/// Parses the metadata out of a file's last bytes, which must hold the whole footer.
pub fn parse_end(size: u64, end: &Bytes) -> Result<ParquetMetaData, Fault> {
    let length = length_in(size, end)?;
    let Some(start) = (end.len() as u64).checked_sub(length) else {
        return Err(Fault::Torn);
    };
    let thrift = &end[start as usize..end.len() - TAIL_BYTES as usize];
    ParquetMetaDataReader::decode_metadata(thrift).map_err(Fault::parquet)
}

/// Reads a file's last bytes and parses the metadata in them.
///
/// # Errors
/// An I/O error from the spool's disk; what is wrong with the file comes as the
/// inner result.
pub fn read_end(disk: &dyn Disk, path: &Path) -> io::Result<Result<ParquetMetaData, Fault>> {
    let (size, end) = bytes_at_end(disk, path)?;
    Ok(parse_end(size, &end))
}

/// A file's size, and its last bytes: as many as its footer takes, if it has one
/// of at most [`FOOTER_BYTES_MAX`].
///
/// # Errors
/// An I/O error from the spool's disk.
pub fn bytes_at_end(disk: &dyn Disk, path: &Path) -> io::Result<(u64, Bytes)> {
    let (size, end) = disk.read_end(path, READ_FIRST_BYTES)?;
    match length_in(size, &end) {
        Ok(length) if length > end.len() as u64 && length <= FOOTER_BYTES_MAX => {
            disk.read_end(path, length)
        }
        _ => Ok((size, end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_no_parquet_file_is_torn() {
        for end in [&b""[..], b"PAR1", b"\xff\xff\xff\xffPAR1", b"\0\0\0\0PARE"] {
            assert!(parse_end(end.len() as u64, &Bytes::copy_from_slice(end)).is_err());
        }
    }
}
