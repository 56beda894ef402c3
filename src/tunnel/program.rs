//! Tunnels that are a foreign program: how it is started, and how it says that it is refused. The token goes in by a file of
//! its own or by the environment, never as an argument.

use super::kind::{Broken, Kind, Signs};
use super::told::Order;
use crate::host::command::Command;
use crate::host::{Error, Host, Observer, files};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A foreign program.
pub struct Program {
    command: Command,
    file: Option<(PathBuf, String)>,
    /// Whether a line that it prints says that it is refused for good.
    refused: fn(&str) -> bool,
}

/// pagekite: of its own service, or of a server of one's own (pagekite(1), "--optfile", "--frontend", "--service_on").
pub fn pagekite(order: &Order, directory: &Path) -> Program {
    let Order { token, portal, .. } = order;
    let (host, server) = (order.host(), order.server.as_str());
    let service = match server {
        "" => "defaults\n".to_owned(),
        server => format!("frontend = {server}\n"),
    };
    let text = format!("{service}service_on = http:{host}:{portal}:{token}\nnullui\n");
    let file = directory.join("pagekite.rc");
    Program {
        command: Command::new("pagekite").arg("--clean").arg(format!("--optfile={}", file.display())),
        file: Some((file, text)),
        // A quota that is used (`quota`) comes back with the next month.
        refused: |line| {
            line.contains("err=Rejected")
                && ["signature", "unauthorized"].iter().any(|why| line.contains(&format!("reason={why}")))
        },
    }
}

/// frp: a server of one's own (github.com/fatedier/frp, `conf/frpc_full_example.toml`).
pub fn frp(order: &Order, directory: &Path) -> Program {
    let (server, port) = order.server.rsplit_once(':').unwrap_or((&order.server, "7000"));
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let text = format!(
        "serverAddr = {}\nserverPort = {port}\nauth.method = \"token\"\nauth.token = {}\nloginFailExit = true\n\n\
         [[proxies]]\nname = \"gpucloud\"\ntype = \"http\"\nlocalIP = \"{}\"\nlocalPort = {}\ncustomDomains = [{}]\n",
        quoted(server),
        quoted(&order.token),
        order.portal.ip(),
        order.portal.port(),
        quoted(order.host()),
    );
    let file = directory.join("frpc.toml");
    Program {
        command: Command::new("frpc").arg("--config").arg(file.display().to_string()),
        file: Some((file, text)),
        refused: |line| line.contains("token in login doesn't match token from configuration"),
    }
}

/// cloudflared, with a tunnel that was made in Cloudflare's dashboard, which knows where to send what comes
/// (developers.cloudflare.com, "Tunnel run parameters": `TUNNEL_TOKEN`).
pub fn cloudflared(order: &Order) -> Program {
    Program {
        command: Command::new("cloudflared")
            .args(["tunnel", "--no-autoupdate", "run"])
            .env("TUNNEL_TOKEN", order.token.as_str()),
        file: None,
        refused: |line| line.contains("token is not valid") || line.contains("Unauthorized: "),
    }
}

/// Ends a program that says it is refused.
struct Listener {
    host: Host,
    refused: fn(&str) -> bool,
    said: Mutex<Option<String>>,
}

impl Observer for Listener {
    fn line(&self, line: &str) {
        if (self.refused)(line) {
            self.said.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| line.to_owned());
            self.host.stop();
        }
    }

    fn progress(&self, _: u64, _: u64, _: &str) {}

    fn warning(&self, _: &str) {}
}

impl Kind for Program {
    fn hold(&self, host: &Host, _: &Arc<Signs>) -> Broken {
        let lost = |error: Error| {
            let last = error.evidence().and_then(|said| said.lines().last().map(str::to_owned)).unwrap_or_default();
            Broken::Lost(format!("{error}{}{last}", if last.is_empty() { "" } else { ": " }))
        };
        if let Some((path, text)) = &self.file
            && let Err(error) = files::write(host, path, text.as_bytes(), 0o600, None)
        {
            return lost(error);
        }
        let listener = Arc::new(Listener { host: host.clone(), refused: self.refused, said: Mutex::default() });
        let ended = self.command.run(&host.observed(listener.clone()));
        let said = listener.said.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (said, ended) {
            (Some(said), _) => Broken::Refused(said),
            (None, Err(error)) => lost(error),
            (None, Ok(())) => Broken::Lost(format!("{} ended", self.command.shown())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tunnel::TunnelKind;

    fn order(server: &str) -> Order {
        Order {
            kind: TunnelKind::Pagekite,
            address: "class.example.net:8443".into(),
            server: server.into(),
            token: "a\"b\\c".into(),
            portal: "127.0.0.1:8001".parse().unwrap(),
            is_counted: false,
        }
    }

    #[test]
    fn tokens_are_in_files_and_not_on_command_lines() {
        let directory = Path::new("/var/lib/x");
        for program in [
            pagekite(&order(""), directory),
            frp(&order("tunnel.example.net:7001"), directory),
            cloudflared(&order("")),
        ] {
            assert!(!program.command.shown().contains("a\"b"), "{}", program.command.shown());
        }
        let (file, text) = frp(&order("tunnel.example.net:7001"), directory).file.unwrap();
        insta::assert_snapshot!(format!("{}\n{text}", file.display()));
        let read: toml::Table = text.parse().unwrap();
        assert_eq!(read["auth"]["token"].as_str(), Some("a\"b\\c"));
        insta::assert_snapshot!("pagekite", pagekite(&order("front.example.net:8090"), directory).file.unwrap().1);
    }

    #[test]
    fn who_is_refused_for_good_is_told_apart() {
        let refused = |program: Program, line: &str| (program.refused)(line);
        let directory = Path::new("/x");
        assert!(refused(pagekite(&order(""), directory), "FE=1.2.3.4:443; err=Rejected; proto=http; reason=signature"));
        assert!(!refused(pagekite(&order(""), directory), "FE=1.2.3.4:443; err=Rejected; proto=http; reason=quota"));
        assert!(refused(
            frp(&order("x:1"), directory),
            "login to the server failed: token in login doesn't match token from configuration"
        ));
        assert!(refused(cloudflared(&order("")), "Provided Tunnel token is not valid."));
        assert!(!refused(cloudflared(&order("")), "Registered tunnel connection"));
    }
}
