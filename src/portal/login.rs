//! Logging in and out: the form with the token, and the cookie.

use super::address::is_plain;
use super::door::{Came, Door, now};
use super::headers::sessions;
use super::session::LIFETIME;
use super::token::TokenHash;
use super::told::Told;
use axum::body::Body;
use axum::extract::rejection::FormRejection;
use axum::extract::{Extension, Form, FromRequest, State};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// How long a form may take to come.
const FORM_LIMIT: Duration = Duration::from_secs(10);

/// Where to go after a login: a notebook of this portal, and nothing that a browser could take for another host.
pub(super) fn next(asked: &str) -> &str {
    let is_ours = asked.starts_with("/s/") && asked.len() < 1000 && !asked.contains(['\\', '\r', '\n', '\t', '\0']);
    if is_ours && is_plain(asked.split(['?', '#']).next().unwrap_or_default()) { asked } else { "" }
}

#[derive(Deserialize)]
pub(super) struct Login {
    token: String,
    #[serde(default)]
    next: String,
}

pub(super) async fn log_in(
    State(door): State<Arc<Door>>,
    Extension(came): Extension<Came>,
    Extension(told): Extension<Arc<Told>>,
    headers: HeaderMap,
    request: Request<Body>,
) -> Response<Body> {
    let read = tokio::time::timeout(FORM_LIMIT, Form::<Login>::from_request(request, &())).await;
    let Ok(Ok(Form(login))) = read else {
        let status = read.map_or(StatusCode::REQUEST_TIMEOUT, |form: Result<_, FormRejection>| {
            form.map_or_else(|rejection| rejection.status(), |_| StatusCode::OK)
        });
        return door.message(status, "Not understood", "This was no token. Go back and enter it again.");
    };
    let hash = TokenHash::of_typed(&login.token);
    let Some((hash, student)) = hash.and_then(|hash| Some((hash, told.student(&hash)?))) else {
        return wrong(&door, came, &login);
    };
    if door.limits.is_too_often(student) {
        let wrong = "You have logged in very often. Wait a minute.";
        return door.pages.answer(StatusCode::TOO_MANY_REQUESTS, &door.login_page(came, wrong, next(&login.next)));
    }
    // One session for each browser: what it had before ends.
    let old: Vec<String> = sessions(&headers, came.cookie()).into_iter().map(str::to_owned).collect();
    let name = student.to_owned();
    let begun = blocking(&door, move |door| {
        let begun = door.sessions.begin(&name, hash, now()).map_err(|error| error.to_string())?;
        end_all(door, &old);
        Ok(begun)
    });
    match begun.await {
        Ok(cookie) => {
            door.log(format!("{student} logged in{}", from(came)));
            let to = next(&login.next);
            let mut answer = Redirect::to(if to.is_empty() { "/" } else { to }).into_response();
            set_cookie(&mut answer, came, &cookie, LIFETIME);
            answer
        }
        Err(error) => {
            door.log(format!("cannot note that {student} logged in: {error}"));
            let text = "The portal cannot write at the moment. Tell your teacher; what you have open goes on.";
            door.message(StatusCode::SERVICE_UNAVAILABLE, "Try again later", text)
        }
    }
}

fn wrong(door: &Door, came: Came, login: &Login) -> Response<Body> {
    let many = door.limits.is_too_many(came.address, &login.token);
    if !many {
        door.log(format!("a wrong token{}", from(came)));
    }
    let (status, wrong) = match many {
        false => (StatusCode::FORBIDDEN, "This token is not known. Look again: it has twenty letters and digits."),
        true => (StatusCode::TOO_MANY_REQUESTS, "Too many wrong tokens. Wait a minute; a right one is always taken."),
    };
    door.pages.answer(status, &door.login_page(came, wrong, next(&login.next)))
}

fn from(came: Came) -> String {
    came.address.map_or_else(|| " through the tunnel".into(), |address| format!(" from {address}"))
}

pub(super) async fn log_out(
    State(door): State<Arc<Door>>,
    Extension(came): Extension<Came>,
    headers: HeaderMap,
) -> Response<Body> {
    let cookies: Vec<String> = sessions(&headers, came.cookie()).into_iter().map(str::to_owned).collect();
    let ended = blocking(&door, move |door| {
        end_all(door, &cookies);
        Ok(())
    });
    if let Err(error) = ended.await {
        door.log(format!("cannot log somebody out: {error}"));
    }
    let mut answer = Redirect::to("/").into_response();
    set_cookie(&mut answer, came, "", 0);
    // What notebooks kept in a browser that may be everybody's.
    answer.headers_mut().insert("clear-site-data", HeaderValue::from_static("\"cache\", \"storage\""));
    answer
}

/// Ends the sessions of these cookies. What cannot be written of it is tried again with the next one that ends.
fn end_all(door: &Door, cookies: &[String]) {
    for error in cookies.iter().filter_map(|cookie| door.sessions.end(cookie).err()) {
        door.log(format!("cannot note that a session ended: {error}"));
    }
}

fn set_cookie(answer: &mut Response<Body>, came: Came, value: &str, seconds: i64) {
    let secure = if came.over_tls { "; Secure" } else { "" };
    let name = came.cookie();
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    if let Ok(value) = HeaderValue::from_str(&text) {
        answer.headers_mut().append(header::SET_COOKIE, value);
    }
}

async fn blocking<T: Send + 'static>(
    door: &Arc<Door>,
    work: impl FnOnce(&Door) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let door = door.clone();
    tokio::task::spawn_blocking(move || work(&door)).await.unwrap_or_else(|error| Err(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_a_notebook_and_nowhere_else() {
        for good in ["/s/ada/lab", "/s/ada/lab?reset", "/s/ada/lab/tree/a%20b.ipynb"] {
            assert_eq!(next(good), good);
        }
        for bad in [
            "//evil.example",
            "/\\evil.example",
            "///x",
            "https://evil.example",
            "/s//../..//evil",
            "/s/..//evil.example",
            "/s/%2e%2e/x",
            "/login",
            "",
            "/s/a\\b",
            "%2f%2fx",
        ] {
            assert_eq!(next(bad), "", "{bad}");
        }
        assert_eq!(next(&format!("/s/{}", "a".repeat(2000))), "");
    }
}
