//! A real browser: headless Chromium, driven through chromedriver. It looks up no host but those it is sent to.

use fantoccini::{Client, ClientBuilder, error::CmdError};
use hyper_util::client::legacy::connect::HttpConnector;
use libtest_mimic::Failed;
use serde_json::json;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the driver may take to start.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Why there is no browser here.
pub fn why_not() -> Option<String> {
    let missing = |program: &&str| {
        let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.is_err()
    };
    let missing = ["chromium", "chromedriver"].into_iter().find(missing)?;
    Some(format!("a browser test needs {missing}"))
}

/// Ends the driver, and with it the browser.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Does `work` in a fresh browser.
pub fn visit(work: impl AsyncFnOnce(&Client) -> Result<(), CmdError>) -> Result<(), Failed> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let driver = Command::new("chromedriver").arg(format!("--port={port}")).stdout(Stdio::null()).spawn()?;
    let _driver = Driver(driver);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = connect(port).await?;
        let done = work(&client).await;
        client.close().await?;
        Ok(done?)
    })
}

async fn connect(port: u16) -> Result<Client, Failed> {
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--window-size=1280,900",
    ];
    // The portal's certificate is of no authority that a fresh browser knows.
    let options = json!({"goog:chromeOptions": {"args": arguments}, "acceptInsecureCerts": true});
    let mut builder = ClientBuilder::new(HttpConnector::new());
    builder.capabilities(options.as_object().cloned().unwrap_or_default());
    let end = Instant::now() + START_LIMIT;
    loop {
        match builder.connect(&format!("http://127.0.0.1:{port}")).await {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() > end => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Keeps a picture of the page for a person to look at; prints where.
pub async fn picture(client: &Client, name: &str) -> Result<(), CmdError> {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
    std::fs::write(&path, client.screenshot().await?).map_err(CmdError::from)?;
    eprintln!("{}", path.display());
    Ok(())
}
