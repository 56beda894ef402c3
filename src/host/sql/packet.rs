//! What the packets of MariaDB's client/server protocol hold. Nothing here reads or writes a socket.
//!
//! The numbers are those of <https://mariadb.com/kb/en/clientserver-protocol/>, "Connecting",
//! "`COM_QUERY`", "Result Set Packets", "`ERR_Packet`" and "Protocol Data Types".

/// First bytes of packets; what a first byte means depends on what may come.
pub(super) const OK: u8 = 0x00;
pub(super) const ERR: u8 = 0xFF;
const EOF: u8 = 0xFE;

/// First bytes of commands.
pub(super) const COM_QUIT: u8 = 0x01;
pub(super) const COM_QUERY: u8 = 0x03;

/// In a row, stands for NULL; as a whole answer, asks for a local file.
const NULL: u8 = 0xFB;

/// `CLIENT_MYSQL` (no extensions), `PROTOCOL_41`, `TRANSACTIONS`, `SECURE_CONNECTION` (the length of
/// the proof takes a byte) and `PLUGIN_AUTH`. Without `CLIENT_DEPRECATE_EOF` rows end with an EOF.
const CAPABILITIES: u32 = 1 | 1 << 9 | 1 << 13 | 1 << 15 | 1 << 19;

/// The longest packet we take; longer ones are continued in a second one, and no answer to us is.
pub(super) const MAX_PAYLOAD_BYTES: usize = 0xFF_FFFE;

/// The collation `utf8mb4_general_ci`: the server reads and writes UTF-8.
const UTF8MB4: u8 = 45;

/// Answers of a server that hangs up: `ER_SERVER_SHUTDOWN`, `ER_NET_*` and `ER_CONNECTION_KILLED`.
const FAREWELLS: [u16; 6] = [1053, 1158, 1159, 1160, 1161, 1927];

/// An error as the server told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The server's number.
    pub(super) code: u16,
    /// The line that MariaDB's own client would print: `ERROR 1045 (28000): Access denied`.
    pub(super) said: String,
}

impl Refusal {
    /// Reads an `ERR_Packet`; `None` where it is cut off. Before the login, it has no SQL state.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let [ERR, low, high, text @ ..] = payload else { return None };
        let code = u16::from_le_bytes([*low, *high]);
        let (state, text) = match text {
            [b'#', rest @ ..] => rest.split_at_checked(5)?,
            _ => (&b"HY000"[..], text),
        };
        let (state, text) = (String::from_utf8_lossy(state), String::from_utf8_lossy(text));
        Some(Self { code, said: format!("ERROR {code} ({state}): {text}") })
    }

    /// Whether the server ended the connection, and not the statement.
    pub(super) fn ends_connection(&self) -> bool {
        FAREWELLS.contains(&self.code)
    }
}

/// Whether a server of our protocol, version 10, speaks. We need nothing else of its greeting:
/// its scramble is for those who have a password.
pub(super) fn is_greeting(payload: &[u8]) -> bool {
    payload.first() == Some(&10)
}

/// The "Handshake Response Packet" of root, who has nothing to prove himself with but his uid.
///
/// It names the plugin of Debian's root (`mysql_native_password ... OR unix_socket`), so that the
/// server goes on to `unix_socket` without a question.
pub(super) fn handshake_response() -> Vec<u8> {
    let mut payload = CAPABILITIES.to_le_bytes().to_vec();
    payload.extend((MAX_PAYLOAD_BYTES as u32).to_le_bytes());
    payload.push(UTF8MB4);
    payload.extend([0; 23]);
    payload.extend(b"root\0\0mysql_native_password\0");
    payload
}

/// How many columns a result set has, from its first packet; `None` where that is none.
pub(super) fn column_count(payload: &[u8]) -> Option<u64> {
    let (columns, rest) = split_integer(payload)?;
    rest.is_empty().then_some(columns)
}

/// Whether columns or rows end here. A row that starts like this has at least 9 bytes.
pub(super) fn is_end(payload: &[u8]) -> bool {
    payload.first() == Some(&EOF) && payload.len() < 9
}

/// The values of a row, NULL as the text `NULL`; `None` where the row is cut off.
pub(super) fn row(mut payload: &[u8]) -> Option<Vec<String>> {
    let mut values = Vec::new();
    while !payload.is_empty() {
        let (value, rest) = split_value(payload)?;
        values.push(value);
        payload = rest;
    }
    Some(values)
}

fn split_value(payload: &[u8]) -> Option<(String, &[u8])> {
    if let [NULL, rest @ ..] = payload {
        return Some(("NULL".to_owned(), rest));
    }
    let (bytes, rest) = split_integer(payload)?;
    let (value, rest) = rest.split_at_checked(usize::try_from(bytes).ok()?)?;
    Some((String::from_utf8_lossy(value).into_owned(), rest))
}

/// A length-encoded integer, and what follows it.
fn split_integer(payload: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, rest) = payload.split_first()?;
    let width = match first {
        0xFC => 2,
        0xFD => 3,
        0xFE => 8,
        NULL | 0xFF => return None,
        small => return Some((small.into(), rest)),
    };
    let (bytes, rest) = rest.split_at_checked(width)?;
    let value = bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
    Some((value, rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_three_four_or_nine_bytes() {
        let cases: [(&[u8], u64); 6] = [
            (b"\x00", 0),
            (b"\xfa", 250),
            (b"\xfc\xfb\x00", 251),
            (b"\xfd\x01\x02\x03", 0x03_0201),
            (b"\xfe\x01\x00\x00\x00\x00\x00\x00\x80", 0x8000_0000_0000_0001),
            (b"\xfc\xff\xff", 0xFFFF),
        ];
        for (bytes, value) in cases {
            let followed = [bytes, b"rest"].concat();
            assert_eq!(split_integer(&followed), Some((value, &b"rest"[..])), "{bytes:?}");
            assert_eq!(split_integer(&bytes[..bytes.len() - 1]), None, "{bytes:?}");
        }
        assert_eq!(split_integer(b"\xfb"), None);
        assert_eq!(split_integer(b"\xff\x00"), None);
    }

    #[test]
    fn errors_read_as_the_client_prints_them() {
        let refusal = Refusal::read(b"\xff\x75\x04#42000There is no such grant").unwrap();
        assert_eq!(refusal, Refusal { code: 1141, said: "ERROR 1141 (42000): There is no such grant".into() });
        let early = Refusal::read(b"\xff\x10\x04Too many connections").unwrap();
        assert_eq!(early.said, "ERROR 1040 (HY000): Too many connections");
        assert!(!early.ends_connection());
        assert!(Refusal::read(b"\xff\x87\x07#70100Connection was killed").unwrap().ends_connection());
        for cut in [&b"\xff\x75"[..], b"\xff\x75\x04#420", b"\x00", b""] {
            assert_eq!(Refusal::read(cut), None, "{cut:?}");
        }
    }

    #[test]
    fn response_has_every_byte_in_its_place() {
        let expected = [
            &b"\x01\xa2\x08\x00\xfe\xff\xff\x00\x2d"[..],
            &[0; 23],
            b"root\x00", // the user
            b"\x00",     // a proof of no bytes
            b"mysql_native_password\x00",
        ];
        assert_eq!(handshake_response(), expected.concat());
    }

    #[test]
    fn rows_hold_text_null_and_nothing() {
        assert_eq!(row(b"\x04nova\xfb\x00\x02\xc3\xa9").unwrap(), ["nova", "NULL", "", "é"]);
        assert_eq!(row(b"\x01\xff").unwrap(), ["\u{fffd}"]);
        let long = "x".repeat(300);
        assert_eq!(row(&[b"\xfc\x2c\x01", long.as_bytes()].concat()).unwrap(), [long]);
        for cut in [&b"\x05nova"[..], b"\x01a\xfc", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert_eq!(row(cut), None, "{cut:?}");
        }
    }

    #[test]
    fn end_is_no_row() {
        assert!(is_end(b"\xfe\x00\x00\x02\x00"));
        assert!(!is_end(b"\xfe\x01\x00\x00\x00\x00\x00\x00\x00x"));
        assert!(!is_end(b"\x00"));
        assert!(!is_end(b""));
    }

    #[test]
    fn only_a_count_is_a_count() {
        assert_eq!(column_count(b"\x03"), Some(3));
        assert_eq!(column_count(b"\xfb/etc/passwd"), None);
        assert_eq!(column_count(b"\x03x"), None);
        assert_eq!(column_count(b""), None);
    }
}
