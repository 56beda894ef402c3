//! The way of every request: what holds for all of them, who sends it, and which page or notebook answers.

use super::address::{calls_us, came_plain, is_plain};
use super::forward::{Forward, NoAnswer, Place};
use super::headers::{COOKIES, sessions};
use super::limits::Limits;
use super::login::{log_in, log_out, next};
use super::look;
use super::meter::Meter;
use super::pages::{self, Page, Pages, Row};
use super::same_origin;
use super::session::{Session, Sessions};
use super::tls::Tls;
use super::told::Told;
use crate::config::secrets::Secret;
use crate::failure::Failure;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Extension, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{any, get, post};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::compression::{CompressionLayer, CompressionLevel};

/// Bytes of a form; nothing that anybody can send who is not logged in is longer.
const LONGEST_FORM: usize = 4 << 10;
/// Where it is said how a browser comes to trust this portal, and the certificate that it needs.
const CERTIFICATE: &str = "/certificate";
const CERTIFICATE_FILE: &str = "/certificate.crt";
/// Where a tunnel's end asks which portal it has reached.
pub const ALIVE: &str = "/alive";
/// Seconds until a page of somebody who waits looks again.
const AGAIN: u32 = 3;

/// How a connection came in.
#[derive(Debug, Clone, Copy)]
pub struct Came {
    /// From where; none behind a tunnel, which speaks for all.
    pub address: Option<IpAddr>,
    /// Whether the browser speaks TLS, here or at the tunnel's other end.
    pub over_tls: bool,
}

impl Came {
    fn is_by_tunnel(self) -> bool {
        self.address.is_none()
    }

    /// The name of its cookie.
    pub(super) fn cookie(self) -> &'static str {
        COOKIES[usize::from(self.over_tls)]
    }
}

/// Everything that requests need.
pub struct Door {
    told: RwLock<Option<Arc<Told>>>,
    /// Who is logged in.
    pub sessions: Sessions,
    /// Wrong tokens.
    pub limits: Limits,
    /// TLS; none: browsers speak plain HTTP.
    pub tls: Option<Tls>,
    /// What comes through the tunnel.
    pub meter: Meter,
    /// Says which portal this is, to who asks for it through the tunnel.
    id: String,
    forward: Forward,
    /// What people see.
    pub(super) pages: Pages,
    log: Box<dyn Fn(String) + Send + Sync>,
}

type Answer = Response<Body>;

impl Door {
    /// With these sessions, pages, TLS and meter; `log` gets a line for what an administrator may ask about later.
    ///
    /// # Errors
    /// The kernel gives no random numbers.
    pub fn new(
        (sessions, pages, tls, meter): (Sessions, Pages, Option<Tls>, Meter),
        log: Box<dyn Fn(String) + Send + Sync>,
    ) -> Result<Self, Failure> {
        let (told, limits, forward) = (RwLock::default(), Limits::default(), Forward::default());
        let id = Secret::random()?.expose().to_owned();
        Ok(Self { told, sessions, limits, tls, meter, id, forward, pages, log })
    }

    /// What root tells at present; none as long as that could not be read.
    pub fn told(&self) -> Option<Arc<Told>> {
        self.told.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Root tells something else from here on.
    pub fn tell(&self, told: Told) {
        *self.told.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(told));
    }

    /// Notes a line.
    pub fn log(&self, line: String) {
        (self.log)(line);
    }

    /// Who is logged in. A page of a notebook may have set a second cookie of our name, in a browser that others use, too: it
    /// shuts nobody out, and stands back behind our own.
    fn session(&self, headers: &HeaderMap, came: Came, told: &Told) -> Option<Arc<Session>> {
        sessions(headers, came.cookie()).into_iter().find_map(|cookie| self.sessions.find(cookie, told, now()))
    }

    /// Where a token is entered.
    pub(super) fn login_page<'a>(&self, came: Came, wrong: &'a str, next: &'a str) -> Page<'a> {
        Page::Login { wrong, next, own_certificate: self.tls.is_some() && !came.is_by_tunnel() }
    }

    /// One thing that is said.
    pub(super) fn message(&self, status: StatusCode, title: &str, text: &str) -> Answer {
        self.pages.answer(status, &Page::Message { title, text, again: 0 })
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// All ways in.
pub fn router(door: Arc<Door>) -> Router {
    let is_text = SizeAbove::new(256).and(OnlyText).and(NotForContentType::SSE);
    let forms = Router::new().route("/login", post(log_in)).route("/logout", post(log_out));
    Router::new()
        .route("/", get(front))
        .route("/assets/{name}", get(asset))
        .route(ALIVE, get(alive))
        .route(CERTIFICATE, get(how_to_trust))
        .route(CERTIFICATE_FILE, get(certificate))
        .route("/s/{name}/", any(notebook))
        .route("/s/{name}/{*rest}", any(notebook))
        // What goes through to a notebook is as long as Jupyter takes it.
        .layer(DefaultBodyLimit::disable())
        .merge(forms.layer(DefaultBodyLimit::max(LONGEST_FORM)))
        .fallback(elsewhere)
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(is_text))
        .layer(from_fn_with_state(door.clone(), checked))
        .with_state(door)
}

/// Pictures, fonts and archives are packed already; Jupyter packs nothing.
#[derive(Clone, Copy)]
struct OnlyText;

impl Predicate for OnlyText {
    fn should_compress<B: axum::body::HttpBody>(&self, response: &Response<B>) -> bool {
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        kind.starts_with("text/") || ["javascript", "json", "xml", "wasm"].iter().any(|part| kind.contains(part))
    }
}

/// What holds for every request: it calls us by a name of ours, its path is plain, it comes from a page of ours.
async fn checked(
    State(door): State<Arc<Door>>,
    Extension(came): Extension<Came>,
    mut request: Request<Body>,
    next: Next,
) -> Answer {
    if came.is_by_tunnel() {
        door.meter.count();
    }
    let Some(told) = door.told() else {
        let text = "The portal does not know its students at the moment. Try again in a minute, or tell your teacher.";
        return door.message(StatusCode::SERVICE_UNAVAILABLE, "Not yet", text);
    };
    let headers = request.headers();
    if !calls_us(request.uri(), headers, &told.names) {
        return door.message(StatusCode::MISDIRECTED_REQUEST, "Not here", "This machine does not go by that name.");
    }
    if !is_plain(request.uri().path()) {
        return door.message(StatusCode::BAD_REQUEST, "Not here", "There is no such address.");
    }
    let is_plain = door.tls.is_some() && !came.over_tls && !is_for_all(request.uri().path());
    if is_plain || came.is_by_tunnel() && came_plain(&told, headers) {
        return to_tls(&door, &request);
    }
    let upgrade = headers.contains_key(header::UPGRADE);
    if !same_origin::allows(request.method(), headers, upgrade, came.over_tls) {
        let why = "This request does not come from a page of this portal. Open the portal itself, and try again there.";
        return if wants_page(request.method(), headers) || request.uri().path() == "/login" {
            door.message(StatusCode::FORBIDDEN, "Refused", why)
        } else {
            pages::told(StatusCode::FORBIDDEN, why)
        };
    }
    request.extensions_mut().insert(told);
    let mut answer = next.run(request).await;
    if came.is_by_tunnel() {
        // The other end has a certificate that every browser knows: who has been there by https does not come without again.
        answer.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=2592000"));
    }
    answer
}

/// What is no secret, and is wanted ahead of any trust.
fn is_for_all(path: &str) -> bool {
    path == CERTIFICATE || path == CERTIFICATE_FILE || path.starts_with("/assets/")
}

/// The same page over TLS. What was sent to be kept from others was sent to all: nothing is made of it.
fn to_tls(door: &Door, request: &Request<Body>) -> Answer {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    match *request.method() {
        Method::GET | Method::HEAD => Redirect::temporary(&format!("https://{host}{path}")).into_response(),
        _ => door.message(StatusCode::FORBIDDEN, "Not secure", "Open this page by https, and enter it there again."),
    }
}

/// Whether somebody sees the answer: anything else is told in a form that programs read, and led nowhere.
fn wants_page(method: &Method, headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    *method == Method::GET && accepts.contains("text/html") && !headers.contains_key(header::UPGRADE)
}

#[derive(Debug, Default, Deserialize)]
struct Whither {
    #[serde(default)]
    next: String,
}

/// The page of who is logged in, else the one where a token is entered.
async fn front(
    State(door): State<Arc<Door>>,
    Extension(came): Extension<Came>,
    Extension(told): Extension<Arc<Told>>,
    Query(whither): Query<Whither>,
    headers: HeaderMap,
) -> Answer {
    let Some(session) = door.session(&headers, came, &told) else {
        return door.pages.answer(StatusCode::OK, &door.login_page(came, "", next(&whither.next)));
    };
    let mut notebooks = Vec::new();
    for (name, notebook) in told.notebooks_of(&session.student) {
        let state = look::at(notebook).await;
        notebooks.push(Row { name: name.to_owned(), state: state.in_words().into(), is_ready: state.is_ready() });
    }
    let again = if notebooks.iter().all(|row| row.is_ready) { 0 } else { AGAIN };
    let tunnel = told.tunnel.as_ref().filter(|_| came.is_by_tunnel());
    let near = tunnel.filter(|tunnel| tunnel.is_nearly_used(door.meter.requests())).map_or("", |tunnel| &tunnel.near);
    door.pages.answer(StatusCode::OK, &Page::Notebooks { student: &session.student, notebooks, near, again })
}

async fn asset(Path(name): Path<String>) -> Answer {
    pages::asset(&name).unwrap_or_else(|| StatusCode::NOT_FOUND.into_response())
}

/// Which portal this is; for the tunnel alone.
async fn alive(State(door): State<Arc<Door>>, Extension(came): Extension<Came>) -> Answer {
    if came.is_by_tunnel() { door.id.clone().into_response() } else { StatusCode::NOT_FOUND.into_response() }
}

/// How a browser comes to trust this portal.
async fn how_to_trust(State(door): State<Arc<Door>>) -> Answer {
    let Some(authority) = door.tls.as_ref().and_then(Tls::authority) else {
        return door.message(StatusCode::NOT_FOUND, "Not here", "This portal has no certificate of its own.");
    };
    let page = Page::Certificate { fingerprint: &authority.fingerprint, file: CERTIFICATE_FILE };
    door.pages.answer(StatusCode::OK, &page)
}

async fn certificate(State(door): State<Arc<Door>>) -> Answer {
    let Some(authority) = door.tls.as_ref().and_then(Tls::authority) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let kind = [(header::CONTENT_TYPE, "application/x-x509-ca-cert"), (header::CACHE_CONTROL, "no-store")];
    (kind, authority.certificate).into_response()
}

/// A notebook's own answer, for its owner.
async fn notebook(
    State(door): State<Arc<Door>>,
    Extension(came): Extension<Came>,
    Extension(told): Extension<Arc<Told>>,
    request: Request<Body>,
) -> Answer {
    let for_eyes = wants_page(request.method(), request.headers());
    let Some(session) = door.session(request.headers(), came, &told) else {
        if for_eyes {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            return Redirect::to(&format!("/?next={}", utf8_percent_encode(path, NON_ALPHANUMERIC))).into_response();
        }
        return pages::told(StatusCode::FORBIDDEN, "log in at the portal");
    };
    let name = request.uri().path().split('/').nth(2).unwrap_or_default().to_owned();
    let Some(notebook) = told.opened_by(&session.student, &name) else {
        // Whose it is, and whether it is there, is nobody else's matter.
        let text = "It is not yours, or not there any more.";
        return match for_eyes {
            true => door.message(StatusCode::NOT_FOUND, "No such notebook", text),
            false => pages::told(StatusCode::NOT_FOUND, text),
        };
    };
    let answer = match notebook.place {
        Some(address) => {
            let base = format!("/s/{name}/");
            let place = Place { address, token: &notebook.token, base: &base };
            door.forward.send(request, &place, &session).await
        }
        None => Err(NoAnswer::Silent),
    };
    match answer {
        Ok(answer) => answer,
        Err(NoAnswer::TooManySockets) => pages::told(StatusCode::TOO_MANY_REQUESTS, "too many WebSockets"),
        Err(NoAnswer::Silent) if for_eyes => {
            let state = look::at(notebook).await;
            let page = Page::Message { title: state.title(), text: state.advice(), again: AGAIN };
            door.pages.answer(StatusCode::SERVICE_UNAVAILABLE, &page)
        }
        Err(NoAnswer::Silent) => pages::told(StatusCode::SERVICE_UNAVAILABLE, "the notebook does not answer"),
    }
}

async fn elsewhere(State(door): State<Arc<Door>>, request: Request<Body>) -> Answer {
    // "/s/ada" without its end.
    let path = request.uri().path();
    let name = path.strip_prefix("/s/").filter(|name| !name.is_empty() && !name.contains('/'));
    match name {
        Some(name) if *request.method() == Method::GET => Redirect::to(&format!("/s/{name}/")).into_response(),
        _ => door.message(StatusCode::NOT_FOUND, "Not here", "There is no such address."),
    }
}
