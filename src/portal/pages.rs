//! What people see: pages without scripts, but for one that hands over a token from a link. Here they get their values; their
//! text is in `src/portal/pages/*.html` (how to trust the certificate: `certificate.html`).

use crate::failure::Failure;
use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use serde::Serialize;
use tera::{Context, Tera};

const PAGES: [(&str, &str); 5] = [
    ("frame.html", include_str!("pages/frame.html")),
    ("login.html", include_str!("pages/login.html")),
    ("notebooks.html", include_str!("pages/notebooks.html")),
    ("message.html", include_str!("pages/message.html")),
    ("certificate.html", include_str!("pages/certificate.html")),
];
const STYLE: &str = include_str!("pages/portal.css");
const SCRIPT: &str = include_str!("pages/portal.js");

/// Nothing but what is ours is loaded, nobody frames it, and forms go nowhere else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// A page.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Page<'a> {
    /// Where a token is entered.
    Login {
        /// What was wrong with the last one; empty at first.
        wrong: &'a str,
        /// Where to go then; empty: to one's notebooks.
        next: &'a str,
        /// Whether browsers may warn, because its certificate is of an authority of this machine's own.
        own_certificate: bool,
    },
    /// How a browser comes to trust the portal.
    Certificate {
        /// By which the certificate is known: "AB:CD:…".
        fingerprint: &'a str,
        /// Where it is.
        file: &'a str,
    },
    /// The notebooks of one student.
    Notebooks {
        /// Who.
        student: &'a str,
        /// Their notebooks.
        notebooks: Vec<Row>,
        /// Where to go instead, where the tunnel's requests are nearly used; else empty.
        near: &'a str,
        /// Seconds until it is to be looked at again; 0: it stays.
        again: u32,
    },
    /// One thing that is said.
    Message {
        /// In a few words.
        title: &'a str,
        /// What it means, and what to do.
        text: &'a str,
        /// Seconds until it is to be looked at again; 0: it stays.
        again: u32,
    },
}

/// A notebook on its student's page.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// How it is, in words.
    pub state: String,
    /// Whether it can be worked in.
    pub is_ready: bool,
}

/// Makes pages.
pub struct Pages(Tera);

impl Pages {
    /// All pages.
    ///
    /// # Errors
    /// One does not parse: our own mistake.
    pub fn new() -> Result<Self, Failure> {
        let mut tera = Tera::new();
        tera.add_raw_templates(PAGES.to_vec()).map_err(|error| Failure {
            evidence: error.to_string(),
            ..Failure::bug("a page of the portal cannot be made")
        })?;
        Ok(Self(tera))
    }

    /// The page, as an answer with this status.
    pub fn answer(&self, status: StatusCode, page: &Page) -> Response<Body> {
        let name = match page {
            Page::Login { .. } => "login.html",
            Page::Notebooks { .. } => "notebooks.html",
            Page::Message { .. } => "message.html",
            Page::Certificate { .. } => "certificate.html",
        };
        let rendered = Context::from_serialize(page).and_then(|context| self.0.render(name, &context));
        let text = rendered.unwrap_or_else(|_| "This page could not be made.".to_owned());
        response(status, "text/html; charset=utf-8", "no-store", text)
    }
}

/// A file that pages name.
pub fn asset(name: &str) -> Option<Response<Body>> {
    let (kind, text) = match name {
        "portal.css" => ("text/css; charset=utf-8", STYLE),
        "portal.js" => ("text/javascript; charset=utf-8", SCRIPT),
        _ => return None,
    };
    Some(response(StatusCode::OK, kind, "max-age=3600", text.to_owned()))
}

/// What a program is told that asked for no page.
pub fn told(status: StatusCode, message: &str) -> Response<Body> {
    response(status, "application/json", "no-store", serde_json::json!({"message": message}).to_string())
}

fn response(status: StatusCode, kind: &'static str, cache: &'static str, text: String) -> Response<Body> {
    let builder = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .header(header::CACHE_CONTROL, cache)
        .header(header::CONTENT_SECURITY_POLICY, POLICY)
        .header(header::REFERRER_POLICY, "same-origin")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // All of it is constant: nothing in it can be wrong.
    builder.body(Body::from(text)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(page: &Page<'_>) -> String {
        let answer = Pages::new().unwrap().answer(StatusCode::OK, page);
        let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_comes_from_outside_is_text() {
        let page =
            text(&Page::Login { wrong: "", next: "/s/x/\"><script>alert(1)</script>", own_certificate: false }).await;
        assert!(!page.contains("<script>alert") && page.contains("&lt;script&gt;"), "{page}");
    }

    #[tokio::test]
    async fn a_notebook_that_can_be_worked_in_has_a_button_and_another_has_none() {
        let row = |name: &str, is_ready| Row { name: name.into(), state: "starting".into(), is_ready };
        let notebooks = vec![row("ada", true), row("ada-2", false)];
        let page = text(&Page::Notebooks { student: "ada", notebooks, near: "", again: 5 }).await;
        assert!(page.contains("href=\"/s/ada/lab\"") && !page.contains("href=\"/s/ada-2/lab\""), "{page}");
        assert!(page.contains("http-equiv=\"refresh\" content=\"5\""), "{page}");
    }
}
