//! A student's way in a real browser.

use super::browser;
use super::world::{ADA, BUSY, Portal, WORLD};
use fantoccini::error::CmdError;
use fantoccini::{Client, Locator};
use libtest_mimic::Failed;
use std::time::Duration;

type Verdict = Result<(), Failed>;

/// JupyterLab on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Shift held, Return (WebDriver, "Keyboard actions").
const RUN: &str = "\u{e008}\u{e007}\u{e000}";

async fn there(page: &Client, css: &str) -> Result<fantoccini::elements::Element, CmdError> {
    page.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await
}

async fn reading(page: &Client, text: &str) -> Result<(), CmdError> {
    let path = format!("//*[contains(text(), '{text}')]");
    page.wait().at_most(PATIENCE).for_element(Locator::XPath(&path)).await.map(drop)
}

async fn log_in(page: &Client, token: &str) -> Result<(), CmdError> {
    there(page, "#token").await?.send_keys(token).await?;
    page.find(Locator::Css("form button")).await?.click().await
}

/// Runs a cell, once the editor of one is there and its kernel is.
async fn cell(page: &Client, code: &str) -> Result<(), CmdError> {
    let ready = "const e = document.activeElement; return !!e && e.matches('.jp-Notebook .cm-content');";
    for _ in 0..300 {
        if page.execute(ready, vec![]).await?.as_bool() == Some(true) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    page.active_element().await?.send_keys(&format!("{code}{RUN}")).await
}

/// Waits until the kernel of a notebook that is open has a socket.
async fn connected(portal: &Portal, cookie: &str) {
    for _ in 0..300 {
        let open = portal.get("/s/ada/api/sessions", &[("Cookie", cookie)]).json();
        let is_ready = |kernel: &serde_json::Value| {
            kernel["connections"].as_u64() > Some(0) && kernel["execution_state"] == "idle"
        };
        if open.as_array().unwrap().iter().any(|session| is_ready(&session["kernel"])) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("no kernel has a socket");
}

/// Over TLS, past the warning that browsers give.
pub fn a_student() -> Verdict {
    let _alone = BUSY.lock();
    let mut portal = Portal::start_with_tls();
    let cookie = portal.log_in(ADA).unwrap();
    let dir = tempfile::tempdir()?;
    let upload = dir.path().join("upload.bin");
    std::fs::File::create(&upload)?.set_len(200 << 20)?;
    browser::visit(async |page| {
        page.goto(&portal.url("/")).await?;
        browser::picture(page, "portal-login").await?;
        page.goto(&portal.url("/certificate")).await?;
        browser::picture(page, "portal-certificate").await?;
        page.goto(&portal.url("/")).await?;
        log_in(page, "wrong").await?;
        reading(page, "This token is not known").await?;
        browser::picture(page, "portal-wrong").await?;
        // By the link of a sheet: the token is in no address that a server sees, and not in the history.
        page.goto(&portal.url("/")).await?;
        page.goto(&format!("{}#t={ADA}", portal.url("/"))).await?;
        there(page, ".notebook a.button").await?;
        assert_eq!(page.current_url().await?.as_str(), portal.url("/"));
        browser::picture(page, "portal-notebooks").await?;
        page.find(Locator::Css(".notebook a.button")).await?.click().await?;
        let python = ".jp-LauncherCard[data-category='Notebook']";
        there(page, python).await?.click().await?;
        connected(&portal, &cookie).await;
        cell(page, "6 * 7").await?;
        reading(page, "42").await?;
        browser::picture(page, "portal-notebook").await?;
        // The portal goes and comes: JupyterLab connects again by itself, and what is in memory is there.
        portal.restart();
        connected(&portal, &cookie).await;
        cell(page, "'answer: %d' % (_ + 1)").await?;
        reading(page, "answer: 43").await?;
        // JupyterLab's own uploader, whose field for files is in no page: shown when it is asked for.
        let shown = "HTMLInputElement.prototype.click = function () { document.body.append(this); };";
        page.execute(shown, vec![]).await?;
        there(page, "[data-jp-item-name='uploader'] jp-button, [data-jp-item-name='uploader'] button")
            .await?
            .click()
            .await?;
        let input = there(page, "body > input[type=file]").await?;
        input.send_keys(&upload.display().to_string()).await?;
        // JupyterLab asks about large files.
        there(page, ".jp-Dialog .jp-mod-accept").await?.click().await?;
        let uploaded = WORLD.home().join("upload.bin");
        for _ in 0..600 {
            if std::fs::metadata(&uploaded).is_ok_and(|meta| meta.len() == 200 << 20) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        browser::picture(page, "portal-upload").await?;
        assert_eq!(std::fs::metadata(&uploaded).map(|meta| meta.len()).unwrap_or_default(), 200 << 20);
        // A terminal.
        page.goto(&portal.url("/s/ada/lab?reset")).await?;
        there(page, ".jp-LauncherCard[title*='terminal']").await?.click().await?;
        there(page, ".jp-Terminal .xterm-helper-textarea").await?;
        let touched = WORLD.home().join("from-a-terminal");
        for _ in 0..60 {
            page.active_element().await?.send_keys("touch ~/from-a-terminal\n").await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            if touched.exists() {
                break;
            }
        }
        assert!(touched.exists(), "nothing came of what was typed in a terminal");
        // Logged out, the notebook is closed.
        page.goto(&portal.url("/")).await?;
        there(page, "form[action='/logout'] button").await?.click().await?;
        there(page, "#token").await?;
        page.goto(&portal.url("/s/ada/lab")).await?;
        there(page, "#token").await?;
        Ok(())
    })
}

pub fn on_a_telephone() -> Verdict {
    let portal = Portal::start();
    browser::visit(async |page| {
        page.set_window_size(390, 844).await?;
        page.goto(&portal.url("/")).await?;
        let wide = "return document.documentElement.scrollWidth > window.innerWidth";
        assert_eq!(page.execute(wide, vec![]).await?.as_bool(), Some(false), "it scrolls sideways");
        browser::picture(page, "portal-telephone-login").await?;
        log_in(page, ADA).await?;
        there(page, ".notebook a.button").await?;
        assert_eq!(page.execute(wide, vec![]).await?.as_bool(), Some(false), "it scrolls sideways");
        browser::picture(page, "portal-telephone").await?;
        page.goto(&portal.url("/s/new/lab")).await?;
        reading(page, "is being made").await?;
        browser::picture(page, "portal-telephone-progress").await
    })
}
