//! A [`Ruleset`] as netlink messages, sent as one batch; the kernel's answers, by purpose.

use std::collections::HashSet;
use std::ffi::CString;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::Ipv4Net;
use nftnl::expr::{self, CmpOp, InterfaceName, Register};
use nftnl::{Batch, FinalizedBatch, MsgType, NlMsg, ProtoFamily, nft_expr};

use super::text::{bad_text, interface, name, purpose};
use super::{Chain, ChainKind, Family, Hook, MAX_OBJECTS, Match, NftError, Policy, Rule, Ruleset, Transport, Verdict};

/// Where `nfgen_family` lies in a netlink message: right behind `struct nlmsghdr`.
const FAMILY_OFFSET: usize = 16;

/// The kernel takes a batch in one message only, so it must fit into one page of libnftnl's.
const BATCH_BYTES: u32 = 2 << 20;

/// An answer takes about 800 bytes of the socket's buffer, a rule about 600.
const BUFFER_BYTES: usize = 4 << 20;

/// The sequence number of a request that is no batch. Any will do.
const LIST_SEQUENCE: u32 = 1;

/// Adding a table that exists does nothing, so adding and deleting removes it in either case.
pub(super) fn deletion(family: Family, table: &str) -> Result<NamedBatch, NftError> {
    let title = format!("table {family} {table}");
    let table = nftnl::Table::new(name("table", table)?, family.kernel());
    let mut batch = NamedBatch::new();
    batch.add(&table, MsgType::Add, format!("find {title}"));
    batch.add(&table, MsgType::Del, format!("delete {title}"));
    Ok(batch)
}

impl Ruleset {
    /// Add, delete and add again: whether the table was there or not, it is empty then.
    pub(super) fn to_batch(&self) -> Result<NamedBatch, NftError> {
        self.check()?;
        let title = self.title();
        let table = nftnl::Table::new(name("table", &self.table)?, self.family.kernel());
        let mut batch = NamedBatch::new();
        batch.add(&table, MsgType::Add, format!("find {title}"));
        batch.add(&table, MsgType::Del, format!("empty {title}"));
        batch.add(&table, MsgType::Add, format!("add {title}"));
        self.add_chains(&table, &mut batch)?;
        Ok(batch)
    }

    fn check(&self) -> Result<(), NftError> {
        let count = self.chains.iter().map(|chain| 1 + chain.rules.len()).sum();
        if count <= MAX_OBJECTS {
            return Ok(());
        }
        Err(NftError::TooMany { table: self.table.clone(), count })
    }

    /// All chains before the first rule: a rule may jump to any of them.
    fn add_chains(&self, table: &nftnl::Table, batch: &mut NamedBatch) -> Result<(), NftError> {
        let mut kernel_chains = Vec::new();
        for chain in &self.chains {
            let kernel_chain = chain.to_kernel(table)?;
            let what = format!("add chain {} to {}", chain.name, self.title());
            batch.add(&kernel_chain, MsgType::Add, what);
            kernel_chains.push(kernel_chain);
        }
        for (chain, kernel_chain) in self.chains.iter().zip(&kernel_chains) {
            self.add_rules(chain, kernel_chain, batch)?;
        }
        Ok(())
    }

    fn add_rules(
        &self,
        chain: &Chain,
        kernel_chain: &nftnl::Chain<'_>,
        batch: &mut NamedBatch,
    ) -> Result<(), NftError> {
        for rule in &chain.rules {
            let Rule { purpose, .. } = rule;
            let what = format!("add rule `{purpose}` to chain {} of {}", chain.name, self.title());
            batch.add(&rule.to_kernel(self.family, kernel_chain)?, MsgType::Add, what);
        }
        Ok(())
    }
}

impl Chain {
    fn to_kernel<'a>(&self, table: &'a nftnl::Table) -> Result<nftnl::Chain<'a>, NftError> {
        let mut chain = nftnl::Chain::new(name("chain", &self.name)?, table);
        if let Some(base) = self.base {
            chain.set_type(base.kind.kernel());
            chain.set_hook(base.hook.kernel(), base.priority);
            chain.set_policy(base.policy.kernel());
        }
        Ok(chain)
    }
}

impl Rule {
    fn to_kernel<'a>(&self, family: Family, chain: &'a nftnl::Chain<'_>) -> Result<nftnl::Rule<'a>, NftError> {
        let mut rule = nftnl::Rule::new(chain);
        let comment = purpose(&self.purpose)?;
        rule.set_comment(comment).map_err(|why| bad_text("purpose", &self.purpose, why))?;
        if family == Family::Inet && self.matches.iter().any(Match::reads_ipv4_header) {
            only_ipv4(&mut rule);
        }
        for wanted in &self.matches {
            wanted.add_to(&mut rule)?;
        }
        if self.counter {
            rule.add_expr(&nft_expr!(counter));
        }
        self.verdict.add_to(&mut rule)?;
        Ok(rule)
    }
}

impl Match {
    fn reads_ipv4_header(&self) -> bool {
        matches!(self, Self::SourceNet(_) | Self::DestinationNet(_))
    }

    fn add_to(&self, rule: &mut nftnl::Rule<'_>) -> Result<(), NftError> {
        match self {
            Self::InInterface(name) => {
                compare_link(rule, &nft_expr!(meta iifname), CmpOp::Eq, name)?;
            }
            Self::OutInterface(name) => {
                compare_link(rule, &nft_expr!(meta oifname), CmpOp::Eq, name)?;
            }
            Self::NotOutInterface(name) => {
                compare_link(rule, &nft_expr!(meta oifname), CmpOp::Neq, name)?;
            }
            Self::SourceNet(net) => compare_net(rule, &nft_expr!(payload ipv4 saddr), net),
            Self::DestinationNet(net) => compare_net(rule, &nft_expr!(payload ipv4 daddr), net),
            Self::Established => established(rule),
            Self::DestinationPort(transport, port) => destination_port(rule, *transport, *port),
        }
        Ok(())
    }
}

impl Verdict {
    fn add_to(&self, rule: &mut nftnl::Rule<'_>) -> Result<(), NftError> {
        match self {
            Self::Accept => rule.add_expr(&nft_expr!(verdict accept)),
            Self::Drop => rule.add_expr(&nft_expr!(verdict drop)),
            Self::Masquerade => rule.add_expr(&nft_expr!(masquerade)),
            Self::Dnat(address, port) => translate(rule, *address, *port),
            Self::Jump(chain) => {
                let chain = name("chain", chain)?;
                rule.add_expr(&nft_expr!(verdict jump chain));
            }
        }
        Ok(())
    }
}

/// In an inet table the IPv4 header is only there once the packet is known to be IPv4.
fn only_ipv4(rule: &mut nftnl::Rule<'_>) {
    rule.add_expr(&nft_expr!(meta nfproto));
    rule.add_expr(&nft_expr!(cmp == ProtoFamily::Ipv4 as u8));
}

fn compare_link(rule: &mut nftnl::Rule<'_>, which: &expr::Meta, how: CmpOp, name: &str) -> Result<(), NftError> {
    let name = InterfaceName::Exact(interface(name)?);
    rule.add_expr(which);
    rule.add_expr(&expr::Cmp::new(how, name));
    Ok(())
}

fn compare_net(rule: &mut nftnl::Rule<'_>, which: &expr::Payload, net: &Ipv4Net) {
    rule.add_expr(which);
    if net.prefix_len() < 32 {
        rule.add_expr(&nft_expr!(bitwise mask net.netmask(), xor 0u32));
    }
    rule.add_expr(&nft_expr!(cmp == net.network()));
}

fn established(rule: &mut nftnl::Rule<'_>) {
    let states = expr::ct::States::ESTABLISHED | expr::ct::States::RELATED;
    rule.add_expr(&nft_expr!(ct state));
    rule.add_expr(&nft_expr!(bitwise mask states.bits(), xor 0u32));
    rule.add_expr(&nft_expr!(cmp != 0u32));
}

/// `dport` lies at the same place for TCP and UDP, in network byte order.
fn destination_port(rule: &mut nftnl::Rule<'_>, transport: Transport, port: u16) {
    rule.add_expr(&nft_expr!(meta l4proto));
    rule.add_expr(&nft_expr!(cmp == transport.number()));
    rule.add_expr(&nft_expr!(payload tcp dport));
    rule.add_expr(&nft_expr!(cmp == port.to_be()));
}

fn translate(rule: &mut nftnl::Rule<'_>, address: Ipv4Addr, port: u16) {
    rule.add_expr(&expr::Immediate::new(address.octets(), Register::Reg1));
    rule.add_expr(&expr::Immediate::new(port.to_be_bytes(), Register::Reg2));
    rule.add_expr(&expr::Nat {
        nat_type: expr::NatType::DNat,
        family: ProtoFamily::Ipv4,
        ip_register: Register::Reg1,
        port_register: Some(Register::Reg2),
    });
}

impl Transport {
    /// `IPPROTO_TCP` and `IPPROTO_UDP` of `linux/in.h`.
    fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

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
        let socket = open_socket()?;
        make_room(&socket);
        socket.send_all(&batch).map_err(|source| refused("take the rules", source))?;
        read_answers(&socket, &batch, &self.purposes)
    }
}

fn open_socket() -> Result<mnl::Socket, NftError> {
    mnl::Socket::new(mnl::Bus::Netfilter).map_err(|source| refused("open its netlink socket", source))
}

/// Room for the messages of [`MAX_OBJECTS`] rules on the way in, and for an answer to each on the way out. Without the
/// right to it (CAP_NET_ADMIN of the machine) small tables still pass.
fn make_room(socket: &mnl::Socket) {
    use nix::sys::socket::{setsockopt, sockopt};
    // SAFETY: the descriptor is open for as long as `socket`, which outlives this borrow.
    #[allow(unsafe_code)]
    let descriptor = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    let _ = setsockopt(&descriptor, sockopt::SndBufForce, &BUFFER_BYTES);
    let _ = setsockopt(&descriptor, sockopt::RcvBufForce, &BUFFER_BYTES);
}

/// Reads one answer for each message; the first refusal ends it.
fn read_answers(socket: &mnl::Socket, batch: &FinalizedBatch, purposes: &[String]) -> Result<(), NftError> {
    let mut missing = batch.sequence_numbers().len();
    let mut buffer = answer_buffer();
    while missing > 0 {
        for answer in receive(socket, &mut buffer)? {
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
    let socket = open_socket()?;
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
        for answer in receive(socket, &mut buffer)? {
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
    let failed = |source| refused("tell the generation of its rules", source);
    let socket = open_socket()?;
    let mut request = Vec::with_capacity(HEADER_BYTES);
    request.extend((HEADER_BYTES as u32).to_ne_bytes());
    request.extend(GET_GENERATION.to_ne_bytes());
    // `NLM_F_REQUEST`; then sequence, port and an `nfgenmsg` of zeros.
    request.extend(1_u16.to_ne_bytes());
    request.resize(HEADER_BYTES, 0);
    socket.send(&request).map_err(failed)?;
    let mut buffer = answer_buffer();
    let answer = receive(&socket, &mut buffer)?.next();
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

fn receive<'a>(socket: &mnl::Socket, buffer: &'a mut [u8]) -> Result<mnl::NlMessages<'a>, NftError> {
    socket.recv(buffer).map_err(|source| refused("answer", source))
}

fn refused(what: &str, source: io::Error) -> NftError {
    NftError::Kernel { what: what.to_owned(), source }
}

impl Family {
    pub(super) fn kernel(self) -> ProtoFamily {
        match self {
            Self::Inet => ProtoFamily::Inet,
            Self::Ip => ProtoFamily::Ipv4,
        }
    }
}

impl ChainKind {
    fn kernel(self) -> nftnl::ChainType {
        match self {
            Self::Filter => nftnl::ChainType::Filter,
            Self::Nat => nftnl::ChainType::Nat,
        }
    }
}

impl Hook {
    fn kernel(self) -> nftnl::Hook {
        match self {
            Self::Prerouting => nftnl::Hook::PreRouting,
            Self::Input => nftnl::Hook::In,
            Self::Forward => nftnl::Hook::Forward,
            Self::Output => nftnl::Hook::Out,
            Self::Postrouting => nftnl::Hook::PostRouting,
        }
    }
}

impl Policy {
    fn kernel(self) -> nftnl::Policy {
        match self {
            Self::Accept => nftnl::Policy::Accept,
            Self::Drop => nftnl::Policy::Drop,
        }
    }
}
