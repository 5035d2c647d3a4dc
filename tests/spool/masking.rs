//! What is left of an address: never a last octet, never more than 48 bits of IPv6.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use spoolhouse::ingest::decode::anonymize::mask;

fn masked(address: impl AsRef<[u8]>) -> String {
    mask(address.as_ref()).to_string()
}

/// The rule once more, told by the standard library's way of printing.
fn by_the_book(address: Ipv6Addr) -> String {
    if let Some(mapped) = address.to_ipv4_mapped() {
        let [a, b, c, _] = mapped.octets();
        return format!("::ffff:{a}.{b}.{c}.X");
    }
    let [a, b, c, ..] = address.segments();
    let c = if a == 0x2002 { c & 0xff00 } else { c };
    format!("{}X", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
}

/// Addresses of every form that the rule treats specially, and any others.
fn ipv6() -> impl Strategy<Value = Ipv6Addr> {
    let sparse = prop::array::uniform8(prop_oneof![Just(0), any::<u16>(), 0u16..16]);
    prop_oneof![
        any::<u128>().prop_map(Ipv6Addr::from_bits),
        sparse.prop_map(Ipv6Addr::from),
        any::<u32>().prop_map(|v4| Ipv4Addr::from_bits(v4).to_ipv6_mapped()),
        any::<u32>().prop_map(|v4| Ipv6Addr::from_bits(u128::from(v4))),
        any::<u128>().prop_map(|low| Ipv6Addr::from_bits(0x2002 << 112 | low >> 16)),
        any::<u32>().prop_map(|v4| Ipv6Addr::from_bits(0x64_ff9b << 96 | u128::from(v4))),
    ]
}

/// The same address in the notations that servers log it in.
fn notations(address: Ipv6Addr) -> Vec<String> {
    let groups = address.segments().map(|group| format!("{group:04X}"));
    let short = address.to_string();
    vec![
        groups.join(":"),
        short.to_uppercase(),
        format!("[{short}]"),
        format!("[{short}]:65535"),
        format!("{short}%eth0"),
        format!("[{short}%25en1]:1"),
        short,
    ]
}

/// Texts made of what addresses are made of.
fn address_like() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9a-fA-FxX.:%\\[\\]/ -]{0,48}",
        "(\\[)?(::)?(ffff:|FFFF:)?[0-9]{1,3}(\\.[0-9X]{1,3}){3}(\\])?(:[0-9]{0,6})?",
        "[0-9a-f]{0,4}(:[0-9a-f]{0,4}){1,8}X?",
        "[0-9a-f]{0,4}(:[0-9a-f]{1,4}){0,3}::[0-9]{0,3}X",
    ]
}

/// A masked form, told by its looks alone.
fn is_masked_form(text: &str) -> bool {
    let v4 = |text: &str| {
        let octets: Vec<_> = text.split('.').collect();
        octets.len() == 4
            && octets[3] == "X"
            && octets[..3].iter().all(|octet| octet.parse::<u8>().is_ok())
    };
    let v6 = |groups: &str| {
        groups.is_empty()
            || groups.split(':').count() <= 3
                && groups
                    .split(':')
                    .all(|group| group.len() <= 4 && u16::from_str_radix(group, 16).is_ok())
    };
    text == "X"
        || v4(text.strip_prefix("::ffff:").unwrap_or(text))
        || text.strip_suffix("::X").is_some_and(v6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_bytes_have_a_masked_form(address in prop::collection::vec(any::<u8>(), 0..64)) {
        let once = masked(&address);
        prop_assert!(is_masked_form(&once), "{once}");
        prop_assert_eq!(masked(&once), once);
    }

    #[test]
    fn anything_like_an_address_has_a_masked_form(address in address_like()) {
        let once = masked(&address);
        prop_assert!(is_masked_form(&once), "{once}");
        prop_assert_eq!(masked(&once), once);
    }

    #[test]
    fn an_ipv4_address_keeps_three_octets(address in any::<u32>(), port in any::<u16>()) {
        let address = Ipv4Addr::from_bits(address);
        let [a, b, c, _] = address.octets();
        let expected = format!("{a}.{b}.{c}.X");
        prop_assert_eq!(masked(address.to_string()), expected.as_str());
        prop_assert_eq!(masked(format!("{address}:{port}")), expected.as_str());
        prop_assert_eq!(masked(format!("[{address}]:{port}")), expected.as_str());
        prop_assert_eq!(masked(format!("::ffff:{address}")), format!("::ffff:{expected}"));
        prop_assert_eq!(masked(&expected), expected);
    }

    #[test]
    fn an_ipv6_address_keeps_48_bits_in_every_notation(address in ipv6()) {
        let expected = by_the_book(address);
        for notation in notations(address) {
            prop_assert_eq!(masked(&notation), expected.as_str(), "{}", notation);
        }
        prop_assert_eq!(masked(&expected), expected);
    }

    #[test]
    fn addresses_that_differ_in_what_is_masked_look_alike(
        address in ipv6(), other in any::<u128>(),
    ) {
        let dropped = match (address.to_ipv4_mapped(), address.segments()[0]) {
            (Some(_), _) => u128::from(u8::MAX),
            (None, 0x2002) => u128::MAX >> 40,
            _ => u128::MAX >> 48,
        };
        let twin = Ipv6Addr::from_bits(address.to_bits() & !dropped | other & dropped);
        // Other low bits may make a mapped address of one that was none.
        prop_assume!(twin.to_ipv4_mapped().is_some() == address.to_ipv4_mapped().is_some());
        prop_assert_eq!(masked(twin.to_string()), masked(address.to_string()));
    }
}
