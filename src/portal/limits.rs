//! How many wrong tokens may be tried, and how often one student logs in: the numbers are here. Whoever tries many shuts out nobody, neither behind the
//! same address nor behind the tunnel, where all come from one. What is counted is the address where it is known by the
//! connection (never by a header, which anybody can write), else how a token begins.

use super::token::LONGEST;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

/// Forty students of one address, each wrong at the first try, once more at the second.
const AT_ONCE: NonZeroU32 = NonZeroU32::new(80).unwrap();
/// From then on.
const PER_MINUTE: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// How many of one beginning.
const OF_ONE_BEGINNING: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// How often one student may log in in a minute: each login is written to the disk.
const LOGINS: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// How much of a token tells what is tried.
const BEGINNING: usize = 5;

/// Counts wrong tokens.
pub struct Limits {
    by_address: DefaultKeyedRateLimiter<IpAddr>,
    by_beginning: DefaultKeyedRateLimiter<String>,
    by_student: DefaultKeyedRateLimiter<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            by_address: RateLimiter::keyed(Quota::per_minute(PER_MINUTE).allow_burst(AT_ONCE)),
            by_beginning: RateLimiter::keyed(Quota::per_minute(OF_ONE_BEGINNING)),
            by_student: RateLimiter::keyed(Quota::per_minute(LOGINS)),
        }
    }
}

impl Limits {
    /// Counts a wrong token; says whether that was one too many. `address`: whence, where the connection tells it.
    pub fn is_too_many(&self, address: Option<IpAddr>, typed: &str) -> bool {
        match address {
            Some(address) => self.by_address.check_key(&network_of(address)).is_err(),
            None => {
                let beginning = typed.chars().take(LONGEST).filter(|c| c.is_ascii_alphanumeric()).take(BEGINNING);
                self.by_beginning.check_key(&beginning.collect()).is_err()
            }
        }
    }

    /// Counts a login; says whether that was one too many of this student.
    pub fn is_too_often(&self, student: &str) -> bool {
        self.by_student.check_key(&student.to_owned()).is_err()
    }

    /// Forgets whom nothing is held against any more.
    pub fn tidy(&self) {
        self.by_address.retain_recent();
        self.by_beginning.retain_recent();
        self.by_student.retain_recent();
    }
}

/// An IPv6 address stands for its network: one machine has as many as it likes.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) => match six.to_ipv4_mapped() {
            Some(four) => four.into(),
            None => Ipv6Addr::from(u128::from(six) >> 64 << 64).into(),
        },
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_of_one_address_may_be_wrong_and_a_machine_may_not_go_on() {
        let limits = Limits::default();
        let campus = "192.0.2.1".parse().unwrap();
        assert!((0..80).all(|_| !limits.is_too_many(Some(campus), "abcde")));
        assert!(limits.is_too_many(Some(campus), "abcde"));
        assert!(!limits.is_too_many(Some("192.0.2.2".parse().unwrap()), "abcde"));
    }

    #[test]
    fn one_machine_s_many_addresses_are_one() {
        let limits = Limits::default();
        let address = |n: u32| format!("2001:db8::{n:x}").parse().unwrap();
        assert!((0..80).all(|n| !limits.is_too_many(Some(address(n)), "")));
        assert!(limits.is_too_many(Some(address(81)), ""));
        assert_eq!(network_of("::ffff:192.0.2.1".parse().unwrap()), "192.0.2.1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn behind_the_tunnel_the_beginning_of_a_token_counts() {
        let limits = Limits::default();
        assert!((0..10).all(|n| !limits.is_too_many(None, &format!("abcde{n}"))));
        assert!(limits.is_too_many(None, "ab-cde9"));
        assert!(!limits.is_too_many(None, "zbcde"));
    }
}
