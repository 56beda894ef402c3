//! The netlink socket of nf_tables: batches and questions go in, the kernel's answers come back by purpose, each within
//! [`ANSWER_LIMIT`].

use std::collections::HashSet;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nftnl::{Batch, FinalizedBatch, MsgType, NlMsg, ProtoFamily};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::{Family, NftError};

/// The kernel answers at once, or when another change of rules is done; an answer that got lost never comes.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Where `nfgen_family` lies in a netlink message: right behind `struct nlmsghdr`.
const FAMILY_OFFSET: usize = 16;

/// The kernel takes a batch in one message only, so it must fit into one page of libnftnl's.
const BATCH_BYTES: u32 = 2 << 20;

/// An answer takes about 800 bytes of the socket's buffer, a rule about 600.
const BUFFER_BYTES: usize = 4 << 20;

/// The sequence number of a request that is no batch. Any will do.
const LIST_SEQUENCE: u32 = 1;

/// A batch that knows what each of its messages is for.
pub(super) struct NamedBatch {
    batch: Batch,
    purposes: Vec<String>,
}

impl NamedBatch {
    pub(super) fn new() -> Self {
        Self { batch: Batch::with_page_size(BATCH_BYTES), purposes: Vec::new() }
    }

    pub(super) fn add(&mut self, message: &impl NlMsg, kind: MsgType, what: String) {
        self.batch.add(message, kind);
        self.purposes.push(what);
    }

    pub(super) fn send(self) -> Result<(), NftError> {
        let batch = self.batch.finalize();
        let socket = open_socket(ANSWER_LIMIT)?;
        make_room(&socket);
        socket.send_all(&batch).map_err(|source| refused("take the rules", source))?;
        read_answers(&socket, &batch, &self.purposes)
    }
}

/// Whoever receives from it waits for at most `limit`.
fn open_socket(limit: Duration) -> Result<mnl::Socket, NftError> {
    let failed = |source| refused("open its netlink socket", source);
    let socket = mnl::Socket::new(mnl::Bus::Netfilter).map_err(failed)?;
    let limit = TimeVal::milliseconds(i64::try_from(limit.as_millis()).unwrap_or(i64::MAX));
    setsockopt(&descriptor(&socket), sockopt::ReceiveTimeout, &limit).map_err(|errno| failed(errno.into()))?;
    Ok(socket)
}

fn descriptor(socket: &mnl::Socket) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open for as long as `socket`, which this borrow does not outlive.
    #[allow(unsafe_code)]
    unsafe {
        BorrowedFd::borrow_raw(socket.as_raw_fd())
    }
}

/// Room for the messages of [`super::MAX_OBJECTS`] rules on the way in, and for an answer to each on the way out.
/// Without the right to it (CAP_NET_ADMIN of the machine) small tables still pass.
fn make_room(socket: &mnl::Socket) {
    let _ = setsockopt(&descriptor(socket), sockopt::SndBufForce, &BUFFER_BYTES);
    let _ = setsockopt(&descriptor(socket), sockopt::RcvBufForce, &BUFFER_BYTES);
}

/// Reads one answer for each message; the first refusal ends it.
fn read_answers(socket: &mnl::Socket, batch: &FinalizedBatch, purposes: &[String]) -> Result<(), NftError> {
    let mut missing = batch.sequence_numbers().len();
    let mut buffer = answer_buffer();
    while missing > 0 {
        for answer in receive(socket, &mut buffer, "take the rules")? {
            let answer = answer.map_err(|source| refused("answer", source))?;
            let sequence = sequence_of(answer);
            mnl::cb_run(answer, sequence, socket.portid())
                .map_err(|source| refused(purpose_of(sequence, batch, purposes), source))?;
            missing = missing.saturating_sub(1);
        }
    }
    Ok(())
}

/// From 6.10 on the kernel also answers the batch's begin and end, and nftnl counts them in.
fn purpose_of<'a>(sequence: u32, batch: &FinalizedBatch, purposes: &'a [String]) -> &'a str {
    let numbers = batch.sequence_numbers();
    let first = numbers.start + u32::from(numbers.len() > purposes.len());
    let index = sequence.checked_sub(first).map(|index| index as usize);
    index.and_then(|index| purposes.get(index)).map_or("load the table", String::as_str)
}

/// `nlmsg_seq` of `struct nlmsghdr`.
fn sequence_of(message: &[u8]) -> u32 {
    let bytes = message.get(8..12).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_ne_bytes)
}

/// The names of the tables of one family, or of all; sorted.
pub(super) fn table_names(family: Option<Family>) -> Result<Vec<String>, NftError> {
    let socket = open_socket(ANSWER_LIMIT)?;
    let mut request = nftnl::table::get_tables_nlmsg(LIST_SEQUENCE);
    if let Some(byte) = request.get_mut(FAMILY_OFFSET) {
        *byte = family.map_or(ProtoFamily::Unspec, Family::kernel) as u8;
    }
    socket.send(&request).map_err(|source| refused("list its tables", source))?;
    let names = read_tables(&socket)?;
    let mut names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
    names.sort();
    Ok(names.into_iter().map(String::from).collect())
}

fn read_tables(socket: &mnl::Socket) -> Result<HashSet<CString>, NftError> {
    let failed = |source| refused("list its tables", source);
    let mut names = HashSet::new();
    let mut buffer = answer_buffer();
    loop {
        for answer in receive(socket, &mut buffer, "list its tables")? {
            let answer = answer.map_err(failed)?;
            let collect = nftnl::table::get_tables_cb;
            let portid = socket.portid();
            match mnl::cb_run2(answer, LIST_SEQUENCE, portid, collect, &mut names) {
                Ok(mnl::CbResult::Ok) => {}
                Ok(mnl::CbResult::Stop) => return Ok(names),
                Err(source) => return Err(failed(source)),
            }
        }
    }
}

/// `NFNL_SUBSYS_NFTABLES` and `NFT_MSG_GETGEN` of `linux/netfilter/nfnetlink.h` and `nf_tables.h`.
const GET_GENERATION: u16 = (10 << 8) | 16;
/// `NFTA_GEN_ID` there.
const GENERATION_ID: u16 = 1;
/// `struct nlmsghdr` and `struct nfgenmsg`: what stands before the attributes.
const HEADER_BYTES: usize = 20;

/// nftnl has no message for it.
pub(super) fn generation() -> Result<u32, NftError> {
    let what = "tell the generation of its rules";
    let failed = |source| refused(what, source);
    let socket = open_socket(ANSWER_LIMIT)?;
    let mut request = Vec::with_capacity(HEADER_BYTES);
    request.extend((HEADER_BYTES as u32).to_ne_bytes());
    request.extend(GET_GENERATION.to_ne_bytes());
    // `NLM_F_REQUEST`; then sequence, port and an `nfgenmsg` of zeros.
    request.extend(1_u16.to_ne_bytes());
    request.resize(HEADER_BYTES, 0);
    socket.send(&request).map_err(failed)?;
    let mut buffer = answer_buffer();
    let answer = receive(&socket, &mut buffer, what)?.next();
    let answer = answer.ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))?.map_err(failed)?;
    attribute(answer, GENERATION_ID).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
}

/// The value of a 32-bit attribute of a message (`struct nlattr`; big-endian, as nf_tables has its numbers).
fn attribute(message: &[u8], wanted: u16) -> Option<u32> {
    let mut rest = message.get(HEADER_BYTES..)?;
    loop {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        if kind == wanted {
            return Some(u32::from_be_bytes(rest.get(4..8)?.try_into().ok()?));
        }
        rest = rest.get(length.max(4).next_multiple_of(4)..)?;
    }
}

fn answer_buffer() -> Vec<u8> {
    vec![0; nftnl::nft_nlmsg_maxsize() as usize]
}

/// The next answers to what was asked; `what` says what that was.
fn receive<'a>(socket: &mnl::Socket, buffer: &'a mut [u8], what: &str) -> Result<mnl::NlMessages<'a>, NftError> {
    socket.recv(buffer).map_err(|source| match source.kind() {
        // SO_RCVTIMEO (socket(7)).
        io::ErrorKind::WouldBlock => NftError::Silent { what: what.to_owned() },
        _ => refused(what, source),
    })
}

fn refused(what: &str, source: io::Error) -> NftError {
    NftError::Kernel { what: what.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn an_answer_that_never_comes_is_not_waited_for_for_ever() {
        let socket = open_socket(Duration::from_millis(50)).unwrap();
        let begin = Instant::now();
        let error = receive(&socket, &mut answer_buffer(), "list its tables").map(drop).unwrap_err();
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        assert_eq!(error.to_string(), "nftables should list its tables: the kernel did not answer in time");
    }
}
