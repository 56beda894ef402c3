//! Downloads of images from a server of our own: whole, cut off and resumed, altered, gone.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use gpucloud::host::{Host, files};
use gpucloud::resources::fetch::Download;
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What a server of tests does.
#[derive(Default)]
struct Site {
    image: Vec<u8>,
    sums: String,
    /// After so many bytes of the image the connection ends.
    cut_after: Option<usize>,
    /// First byte of each request for the image.
    asked_from: Vec<usize>,
}

fn serve(site: Arc<Mutex<Site>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(&stream, &site);
        }
    });
    address
}

fn answer(mut stream: &TcpStream, site: &Mutex<Site>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut from = 0;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().unwrap();
        }
    }
    let mut site = site.lock().unwrap();
    if request.contains("/SUMS") {
        return write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", site.sums.len(), site.sums);
    }
    if !request.contains("/x.img") {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    }
    site.asked_from.push(from);
    let rest = &site.image[from.min(site.image.len())..];
    match (from, rest.len()) {
        (1.., 0) => return write!(stream, "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n"),
        (0, length) => write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?,
        (_, length) => write!(stream, "HTTP/1.1 206 Partial Content\r\nContent-Length: {length}\r\n\r\n")?,
    }
    stream.write_all(&rest[..site.cut_after.unwrap_or(rest.len()).min(rest.len())])
}

struct Trial {
    _dir: tempfile::TempDir,
    host: Host,
    site: Arc<Mutex<Site>>,
    download: Download,
}

fn trial() -> Trial {
    let dir = tempfile::tempdir().unwrap();
    let mut image: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    // A partition table with one partition.
    image[446..510].fill(0);
    image[446..462].copy_from_slice(&[0x80, 0, 2, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 100, 0, 0, 0]);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    let sum: String = Sha256::digest(&image).iter().map(|byte| format!("{byte:02x}")).collect();
    let sums = format!("{sum} *x.img\n{} *other.img\n", "0".repeat(64));
    let site = Arc::new(Mutex::new(Site { image, sums, ..Site::default() }));
    let address = serve(site.clone());
    let download = Download::new("x", &format!("{address}/x.img"), Some(&format!("{address}/SUMS")));
    Trial { host: Host::at(dir.path()), _dir: dir, site, download }
}

impl Trial {
    fn has_all(&self) -> bool {
        let there = files::read(&self.host, &self.download.path).unwrap();
        there.as_deref() == Some(self.site.lock().unwrap().image.as_slice()) && self.download.is_done(&self.host)
    }
}

#[test]
fn a_download_that_was_cut_off_goes_on_where_it_stopped() {
    let trial = trial();
    trial.site.lock().unwrap().cut_after = Some(1_000_000);
    let error = trial.download.run(&trial.host).unwrap_err().to_string();
    assert!(error.contains("broke off") || error.contains("download"), "{error}");
    assert!(!trial.download.is_done(&trial.host));
    trial.site.lock().unwrap().cut_after = None;
    trial.download.run(&trial.host).unwrap();
    assert!(trial.has_all());
    assert_eq!(trial.site.lock().unwrap().asked_from, [0, 1_000_000]);
}

#[test]
fn content_that_its_publisher_does_not_list_is_refused_and_removed() {
    let trial = trial();
    trial.site.lock().unwrap().image[5] ^= 1;
    let error = trial.download.run(&trial.host).unwrap_err().to_string();
    assert!(error.contains("is not what its publisher lists"), "{error}");
    assert!(!trial.download.is_done(&trial.host));
    assert!(files::list(&trial.host, Path::new("/var/lib/gpucloud/images")).unwrap().is_empty());
    trial.site.lock().unwrap().image[5] ^= 1;
    trial.download.run(&trial.host).unwrap();
    assert!(trial.has_all());
}

#[test]
fn an_image_that_is_not_listed_or_not_there_is_said() {
    let trial = trial();
    trial.site.lock().unwrap().sums = "nothing\n".into();
    let error = trial.download.run(&trial.host).unwrap_err().to_string();
    assert!(error.contains("does not list x.img"), "{error}");
    let missing = Download { url: trial.download.url.replace("x.img", "y.img"), ..trial.download.clone() };
    let error = Download { sums: None, ..missing }.run(&trial.host).unwrap_err().to_string();
    assert!(error.contains("404"), "{error}");
}

#[test]
fn without_a_list_the_first_download_pins_the_hash() {
    let trial = trial();
    let download = Download { sums: None, ..trial.download.clone() };
    download.run(&trial.host).unwrap();
    let pinned = download.pinned(&trial.host).unwrap();
    assert_eq!(pinned.len(), 64);
    // Somebody removes the file; what comes instead is another one.
    files::remove(&trial.host, &download.path).unwrap();
    trial.site.lock().unwrap().image[7] ^= 1;
    let error = download.run(&trial.host).unwrap_err().to_string();
    assert!(error.contains(&pinned), "{error}");
}

#[test]
fn what_is_no_image_is_not_kept() {
    let trial = trial();
    let page = b"<!DOCTYPE html><title>Log in to the campus network</title>".to_vec();
    let image = std::mem::replace(&mut trial.site.lock().unwrap().image, page);
    let download = Download { sums: None, ..trial.download.clone() };
    let error = download.run(&trial.host).unwrap_err();
    assert!(error.to_string().contains("/x.img is a web page"), "{error}");
    assert!(error.next().unwrap().contains("browser"), "{error:?}");
    assert!(files::list(&trial.host, Path::new("/var/lib/gpucloud/images")).unwrap().is_empty());
    trial.site.lock().unwrap().image = image;
    download.run(&trial.host).unwrap();
    assert!(trial.has_all());
}
