//! The one function that masks client addresses.
//!
//! Total: any bytes give a masked address, `X` when they are no address at all.
//! Idempotent: what it gave out comes back unchanged. It never lets through the
//! last octet of an IPv4 address or more than the first 48 bits of an IPv6
//! address, and it does not allocate.
//!
//! Which IPv6 forms carry a whole IPv4 address within the 48 bits that are kept:
//!
//! | form | where the IPv4 address is | done here |
//! |---|---|---|
//! | 6to4, `2002::/16` (RFC 3056) | bits 16–48: all of it is kept | its last octet is zeroed |
//! | IPv4-mapped `::ffff:0:0/96` (RFC 4291) | bits 96–128 | masked as IPv4 |
//! | IPv4-compatible `::/96`, translated `::ffff:0:0:0/96`, NAT64 `64:ff9b::/96` and `64:ff9b:1::/48` (RFC 6052, 8215), ISATAP | after bit 48 | dropped with the rest |
//! | NAT64 with a prefix of one's own (RFC 6052) | at the earliest bits 32–64: two octets are kept | nothing more |
//! | Teredo, `2001::/32` (RFC 4380) | the client's in bits 96–128, the server's in 32–64 | nothing more |
//! | 6rd, MAP, 4rd (RFC 5969, 7597, 7600) | wherever the operator put it | nothing more: such a prefix can't be told from any other |

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Length of the longest masked address, `::ffff:255.255.255.X`, in bytes.
pub const MASKED_LEN_MAX: usize = 20;

/// Placeholder for masked octets, and for what is no address.
const MASK: u8 = b'X';

/// The first 16 bits of a 6to4 address.
const SIX_TO_FOUR: u16 = 0x2002;

/// A masked address: the only form in which an address leaves ingest.
///
/// Held inline, so that masking does not allocate. Only [`mask`] makes one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Masked {
    bytes: [u8; MASKED_LEN_MAX],
    len: u8,
}

impl Masked {
    /// The masked address as text, in one of the forms `1.2.3.X`,
    /// `::ffff:1.2.3.X`, `2001:db8:85a3::X` and `X`.
    pub fn as_str(&self) -> &str {
        // Only ASCII is ever pushed; the fallback is there because a checked
        // conversion of 20 bytes costs less than an argument for an unchecked one.
        str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("X")
    }

    const fn empty() -> Self {
        Self {
            bytes: [0; MASKED_LEN_MAX],
            len: 0,
        }
    }

    fn nothing() -> Self {
        let mut masked = Self::empty();
        masked.push(MASK);
        masked
    }

    fn push(&mut self, byte: u8) {
        self.bytes[usize::from(self.len)] = byte;
        self.len += 1;
    }

    fn push_all(&mut self, bytes: &[u8]) {
        let len = usize::from(self.len);
        self.bytes[len..len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }

    fn push_decimal(&mut self, octet: u8) {
        if octet >= 100 {
            self.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            self.push(b'0' + octet / 10 % 10);
        }
        self.push(b'0' + octet % 10);
    }

    fn push_hex(&mut self, group: u16) {
        let digits = (16 - group.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            let value = (group >> (4 * digit) & 0xf) as u8;
            self.push(if value < 10 {
                b'0' + value
            } else {
                b'a' + value - 10
            });
        }
    }
}

impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Masks an address.
///
/// * IPv4 loses its last octet: `1.2.3.4` becomes `1.2.3.X`. So does an
///   IPv4-mapped IPv6 address: `::ffff:1.2.3.4` becomes `::ffff:1.2.3.X`.
/// * IPv6 keeps its first 48 bits: `2001:db8:85a3:8d3::1` becomes
///   `2001:db8:85a3::X`. A 6to4 address also loses the last octet of the IPv4
///   address in those 48 bits: `2002:102:304::1` becomes `2002:102:300::X`.
/// * Brackets, a port and a zone are understood and dropped:
///   `[fe80::1%eth0]:80` becomes `fe80::X`.
/// * An address in exactly one of these masked forms stays as it is.
/// * Anything else, empty and not UTF-8 included, becomes `X`.
pub fn mask(address: &[u8]) -> Masked {
    let Ok(text) = str::from_utf8(address) else {
        return Masked::nothing();
    };
    if text.parse::<Ipv4Addr>().is_ok() {
        return mask_plain_v4(address);
    }
    if address.last() == Some(&MASK) {
        return already_masked(text).unwrap_or_else(Masked::nothing);
    }
    match parse(text) {
        Some(IpAddr::V4(address)) => mask_v4(address, b""),
        Some(IpAddr::V6(address)) => mask_v6(address),
        None => Masked::nothing(),
    }
}

/// The common case. The parser takes octets without leading zeros only, so what
/// was typed is what would be printed.
fn mask_plain_v4(address: &[u8]) -> Masked {
    let Some(last_dot) = address.iter().rposition(|&byte| byte == b'.') else {
        return Masked::nothing();
    };
    let mut masked = Masked::empty();
    masked.push_all(&address[..=last_dot]);
    masked.push(MASK);
    masked
}

fn mask_v4(address: Ipv4Addr, prefix: &[u8]) -> Masked {
    let [a, b, c, _] = address.octets();
    let mut masked = Masked::empty();
    masked.push_all(prefix);
    for octet in [a, b, c] {
        masked.push_decimal(octet);
        masked.push(b'.');
    }
    masked.push(MASK);
    masked
}

/// Prints the prefix as [`Ipv6Addr`] does: the run of zeros at its end is always
/// the longest, so it is the one that `::` stands for.
fn mask_v6(address: Ipv6Addr) -> Masked {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return mask_v4(mapped, b"::ffff:");
    }
    let [a, b, mut c, ..] = address.segments();
    if a == SIX_TO_FOUR {
        c &= 0xff00;
    }
    let mut masked = Masked::empty();
    let groups = [a, b, c];
    let kept = groups.iter().rposition(|&group| group != 0);
    for (place, &group) in groups[..kept.map_or(0, |last| last + 1)].iter().enumerate() {
        if place > 0 {
            masked.push(b':');
        }
        masked.push_hex(group);
    }
    masked.push_all(b"::X");
    masked
}

/// Lets exactly our own output through: the form that masking the same address
/// with a zero in place of the mask gives, and `X` itself.
fn already_masked(text: &str) -> Option<Masked> {
    let kept = text.len().checked_sub(1)?;
    if kept >= MASKED_LEN_MAX {
        return None;
    }
    let mut zeroed = [0; MASKED_LEN_MAX];
    zeroed[..kept].copy_from_slice(&text.as_bytes()[..kept]);
    zeroed[kept] = b'0';
    let masked = match str::from_utf8(&zeroed[..=kept]).ok()?.parse().ok()? {
        IpAddr::V4(address) => mask_v4(address, b""),
        IpAddr::V6(address) => mask_v6(address),
    };
    (masked.as_str() == text).then_some(masked)
}

/// Reads what a plain IPv4 address is not: `IPV6`, `ADDRESS%ZONE`, `[…]`, `[…]:PORT` and `IPV4:PORT`.
fn parse(text: &str) -> Option<IpAddr> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (inside, after) = bracketed.split_once(']')?;
        if !after.is_empty() {
            port(after.strip_prefix(':')?)?;
        }
        return without_zone(inside);
    }
    if let Some((host, digits)) = text.split_once(':')
        && let Ok(address) = host.parse::<Ipv4Addr>()
    {
        port(digits)?;
        return Some(IpAddr::V4(address));
    }
    without_zone(text)
}

fn without_zone(text: &str) -> Option<IpAddr> {
    match text.split_once('%') {
        Some((_, "")) => None,
        Some((address, _)) => address.parse().ok(),
        None => text.parse().ok(),
    }
}

/// Only digits: `u16::from_str` alone would take a sign.
fn port(digits: &str) -> Option<u16> {
    if digits.len() > 5 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(address: &str) -> String {
        mask(address.as_bytes()).to_string()
    }

    #[test]
    fn an_ipv4_address_loses_its_last_octet() {
        assert_eq!(masked("1.2.3.4"), "1.2.3.X");
        assert_eq!(masked("0.0.0.0"), "0.0.0.X");
        assert_eq!(masked("255.255.255.255"), "255.255.255.X");
        assert_eq!(masked("109.90.10.9"), "109.90.10.X");
    }

    #[test]
    fn a_mapped_address_is_masked_as_ipv4() {
        assert_eq!(masked("::ffff:1.2.3.4"), "::ffff:1.2.3.X");
        assert_eq!(masked("::ffff:102:304"), "::ffff:1.2.3.X");
        assert_eq!(masked("::FFFF:255.255.255.255"), "::ffff:255.255.255.X");
        assert_eq!(masked("[::ffff:1.2.3.4]:443"), "::ffff:1.2.3.X");
    }

    #[test]
    fn an_ipv6_address_keeps_48_bits() {
        assert_eq!(
            masked("2001:db8:85a3:8d3:1319:8a2e:370:7348"),
            "2001:db8:85a3::X"
        );
        assert_eq!(masked("2001:DB8::1"), "2001:db8::X");
        assert_eq!(masked("2001::1"), "2001::X");
        assert_eq!(masked("::1"), "::X");
        assert_eq!(masked("::"), "::X");
        assert_eq!(masked("0:0:a0::1"), "0:0:a0::X");
        assert_eq!(masked("1:0:f00:1::"), "1:0:f00::X");
    }

    #[test]
    fn an_ipv4_address_inside_an_ipv6_address_loses_its_last_octet_too() {
        assert_eq!(masked("2002:102:304::1"), "2002:102:300::X");
        assert_eq!(masked("2002:102:4::1"), "2002:102::X");
        assert_eq!(masked("::1.2.3.4"), "::X");
        assert_eq!(masked("::ffff:0:1.2.3.4"), "::X");
        assert_eq!(masked("64:ff9b::1.2.3.4"), "64:ff9b::X");
        assert_eq!(masked("64:ff9b:1::1.2.3.4"), "64:ff9b:1::X");
        assert_eq!(masked("2001:db8:102:304::"), "2001:db8:102::X");
        assert_eq!(masked("fe80::5efe:1.2.3.4"), "fe80::X");
    }

    #[test]
    fn port_brackets_and_zone_are_understood() {
        assert_eq!(masked("1.2.3.4:80"), "1.2.3.X");
        assert_eq!(masked("1.2.3.4:0"), "1.2.3.X");
        assert_eq!(masked("[1.2.3.4]"), "1.2.3.X");
        assert_eq!(masked("[2001:db8::1]:443"), "2001:db8::X");
        assert_eq!(masked("[::1]"), "::X");
        assert_eq!(masked("fe80::1%eth0"), "fe80::X");
        assert_eq!(masked("[fe80::1%eth0]:80"), "fe80::X");
        assert_eq!(masked("[fe80::1%25eth0]"), "fe80::X");
    }

    #[test]
    fn what_is_masked_stays_as_it_is() {
        for form in [
            "X",
            "1.2.3.X",
            "255.255.255.X",
            "::ffff:255.255.255.X",
            "::X",
            "2001:db8:85a3::X",
            "2002:102:300::X",
            "0:0:a0::X",
        ] {
            assert_eq!(masked(form), form);
        }
    }

    #[test]
    fn anything_else_becomes_x() {
        for other in [
            "",
            " ",
            "-",
            "x",
            "unknown",
            "localhost",
            "1.2.3",
            "1.2.3.",
            "1.2.3.4.5",
            "1.2.3.256",
            "01.2.3.4",
            "1.2.3.4 ",
            " 1.2.3.4",
            "1.2.3.4:",
            "1.2.3.4:+80",
            "1.2.3.4:65536",
            "1.2.3.4:000080",
            "1.2.3.4, 5.6.7.8",
            "[::1",
            "[::1]80",
            "[::1]:",
            "::1]",
            "[]",
            "fe80::1%",
            "%eth0",
            "2001:db8",
            "1:2:3:4:5:6:7:8:9",
            "12345::",
            "1.2.3.x",
            "01.2.3.X",
            "1.2.3.4X",
            "1.2.3.4.X",
            "2001:db8:85a3:0:X",
            "2001:0db8::X",
            "2001:DB8::X",
            "2002:102:304::X",
            "1:2:3:4::X",
            "::ffff:102:X",
            "[::X]",
            "1.2.3.X:80",
            "XX",
            "::ffff:255.255.255.1XX",
            "1.2.3.\u{661}",
        ] {
            assert_eq!(masked(other), "X", "{other:?}");
        }
        assert_eq!(mask(b"1.2.3.4\xff").as_str(), "X");
        assert_eq!(mask(b"\xff").as_str(), "X");
        assert_eq!(mask(b"1.2.3.4\0").as_str(), "X");
    }
}
