//! The page that students open: a token, and they are in their notebook, and nobody else is. A process of its own, with an
//! account that owns nothing but who is logged in; the administrator's side of it is in `classroom/`.
//!
//! ```text
//! told         what root tells it: names, students' tokens as hashes, where notebooks are
//! token        a student's token: made, typed, hashed (pure)
//! serve        the process: listeners, connections, its end
//! door         the way of a request: what holds for all, who sends it, which page or notebook answers
//! address      whom it calls, and on what way it came (pure)
//! login        logging in and out
//! tls          the certificate that it shows, and the authority behind it
//! same_origin  whether it comes from a page of ours (pure)
//! session      who is logged in, over restarts
//! limits       how many wrong tokens may be tried
//! headers      what passes between browser and notebook (pure)
//! forward      a request to a notebook, and the WebSocket behind it
//! look         how a notebook is
//! meter        how many requests came through the tunnel
//! pages        what people see; the pages themselves are in `pages/`
//! ```

pub mod address;
pub mod door;
pub mod forward;
pub mod headers;
pub mod limits;
pub mod login;
pub mod look;
pub mod meter;
pub mod pages;
pub mod same_origin;
pub mod serve;
pub mod session;
pub mod tls;
pub mod token;
pub mod told;
