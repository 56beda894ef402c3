//! Signals that reach this program while it waits for one in a virtual lab: SSH's client passes none on (RFC 4254, 6.9,
//! which it does not send), so they go by a second program.

use super::LabError;
use crate::host::command::Command;
use crate::host::{self, Host};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::atomic::{AtomicI32, Ordering};

/// What SSH's client returns when the program was ended by a signal, or the connection broke.
const BROKEN: i32 = 255;

/// Runs `command` inside (by `program`) without a terminal; INT, TERM and HUP reach it and its children. Its exit status,
/// 128 + n for signal n.
pub(super) fn passing(
    host: &Host,
    program: impl Fn(&[String]) -> host::Result<Command> + Sync,
    command: &[String],
) -> Result<i32, LabError> {
    let note = format!("/run/lab-exec-{}", std::process::id());
    // The number of the shell is that of its group: SSH's server makes a session for each program. It outlives a signal,
    // and takes its note away.
    let script = "trap : INT TERM HUP; echo $$ >\"$0\"; \"$@\"; rc=$?; rm -f \"$0\"; exit $rc";
    let begin = ["sh", "-c", script, &note].map(str::to_owned);
    let running = program(&[&begin[..], command].concat())?;
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(LabError::Signals)?;
    let (handle, passed) = (signals.handle(), AtomicI32::new(0));
    let code = std::thread::scope(|scope| {
        scope.spawn(|| {
            for signal in signals.forever() {
                passed.store(signal, Ordering::SeqCst);
                // Where all is slow the program may not have begun.
                let wait = format!("for i in $(seq 100); do [ -s {note} ] && break; sleep 0.1; done");
                let kill = format!("{wait}; kill -s {signal} -- -$(cat {note})");
                // The program may have ended meanwhile.
                let kill = ["sh", "-c", &kill].map(str::to_owned);
                let _ = program(&kill).and_then(|kill| kill.quiet().output(host));
            }
        });
        let code = running.interactive(host);
        handle.close();
        code
    })?;
    Ok(match passed.load(Ordering::SeqCst) {
        signal if signal != 0 && code == BROKEN => 128 + signal,
        _ => code,
    })
}
