//! Every command line of every process of this machine, labs included, as long as it looks: where a secret would show.
//!
//! The kernel tells of each program that starts (`CONFIG_PROC_EVENTS`, linux/cn_proc.h), and its command line is read at
//! once. Where it does not tell, /proc is looked through every few milliseconds: what lives shorter is missed.

#![allow(unsafe_code)]

use nix::libc;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often /proc is looked through where the kernel does not tell.
const PAUSE: Duration = Duration::from_millis(4);

#[derive(Default)]
pub struct Sampler {
    seen: Arc<Mutex<BTreeSet<String>>>,
    missed: Arc<AtomicBool>,
    told: bool,
}

impl Sampler {
    /// Looks from now on, to the end of this program.
    pub fn start() -> Self {
        let events = subscribe();
        let sampler = Self { told: events.is_ok(), ..Self::default() };
        let (seen, missed) = (sampler.seen.clone(), sampler.missed.clone());
        std::thread::spawn(move || match events {
            Ok(socket) => listen(File::from(socket), &seen, &missed),
            Err(_) => loop {
                look_through(&seen);
                std::thread::sleep(PAUSE);
            },
        });
        sampler
    }

    pub fn seen(&self) -> BTreeSet<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Whether the kernel tells of each program.
    pub fn is_told(&self) -> bool {
        self.told
    }

    /// How it looks, and whether it came too late for some.
    pub fn how(&self) -> &'static str {
        match (self.told, self.missed.load(Ordering::SeqCst)) {
            (true, false) => "the kernel told of every program",
            (true, true) => "the kernel told of more programs than could be looked at",
            (false, _) => "the kernel does not tell: /proc was looked through",
        }
    }
}

/// A netlink socket on which the kernel tells of processes.
fn subscribe() -> std::io::Result<OwnedFd> {
    // SAFETY: plain system calls; the new descriptor is owned from here on, the address and the bytes outlive their calls.
    let socket = unsafe {
        let raw = libc::socket(libc::AF_NETLINK, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, libc::NETLINK_CONNECTOR);
        if raw < 0 {
            return Err(std::io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(raw);
        let mut address: libc::sockaddr_nl = std::mem::zeroed();
        address.nl_family = libc::AF_NETLINK as u16;
        address.nl_groups = CN_IDX_PROC;
        let size = size_of::<libc::sockaddr_nl>() as u32;
        if libc::bind(raw, std::ptr::from_ref(&address).cast(), size) < 0 {
            return Err(std::io::Error::last_os_error());
        }
        let room: i32 = 16 << 20;
        libc::setsockopt(raw, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, std::ptr::from_ref(&room).cast(), 4);
        socket
    };
    let written = nix::unistd::write(&socket, &listen_request())?;
    assert_eq!(written, 40);
    Ok(socket)
}

/// linux/connector.h: the index and the value of process events.
const CN_IDX_PROC: u32 = 1;
const CN_VAL_PROC: u32 = 1;
/// linux/cn_proc.h
const PROC_CN_MCAST_LISTEN: u32 = 1;
const PROC_EVENT_EXEC: u32 = 2;

/// A netlink header, a connector's header, and what is asked for.
fn listen_request() -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
    let header = [words(&[40]), u32::from(libc::NLMSG_DONE as u16).to_ne_bytes().to_vec(), words(&[0, 0])].concat();
    let length = [4_u16.to_ne_bytes(), [0, 0]].concat();
    [header, words(&[CN_IDX_PROC, CN_VAL_PROC, 0, 0]), length, words(&[PROC_CN_MCAST_LISTEN])].concat()
}

/// Behind the headers of netlink (16 bytes) and connector (20): what happened, CPU, time, then the process's number.
fn listen(mut socket: File, seen: &Mutex<BTreeSet<String>>, missed: &AtomicBool) {
    let mut message = [0; 512];
    loop {
        let word = |message: &[u8], at: usize| u32::from_ne_bytes(message[at..at + 4].try_into().unwrap());
        match socket.read(&mut message) {
            Ok(length) if length >= 60 && word(&message, 36) == PROC_EVENT_EXEC => note(word(&message, 52), seen),
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                missed.store(true, Ordering::SeqCst);
                look_through(seen);
            }
            Err(error) => panic!("process events of {}: {error}", socket.as_raw_fd()),
        }
    }
}

fn look_through(seen: &Mutex<BTreeSet<String>>) {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).for_each(|pid| note(pid, seen));
}

fn note(pid: u32, seen: &Mutex<BTreeSet<String>>) {
    if let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) {
        seen.lock().unwrap().insert(String::from_utf8_lossy(&line).replace('\0', " "));
    }
}
