//! Images behind the lab's real daemons, with tickets of our own: past the engine.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use backstop::base::cancel::Cancel;
use backstop::base::chance::SystemChance;
use backstop::ovirt::address::AddressMap;
use backstop::ovirt::check::Way;
use backstop::ovirt::transfer::{TicketUrls, TransferOptions, TransferPatience, WireCounters};
use backstop::ovirt::trust::Anchor;
use backstop::ovirt::wire::TicketUrl;
use serde_json::{Value, json};

use crate::lab::Lab;

/// Numbers tickets and sockets.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// An image that can be read or written through the daemon of host1.
pub(crate) struct Export<'a> {
    lab: &'a Lab,
    image: PathBuf,
    socket: PathBuf,
    arguments: Vec<String>,
    server: Child,
    pub(crate) ticket: String,
}

/// What a ticket is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    Reading,
    /// The changes since the one bitmap that is exported.
    ReadingChanges,
    Writing,
}

impl<'a> Export<'a> {
    /// Exports `image` as hosts do, and gives the daemon a ticket for it.
    pub(crate) fn start(lab: &'a Lab, image: &Path, format: &str, kind: For) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let socket = lab.place.path(format!("nbd{number}"));
        let mut arguments: Vec<String> = ["--persistent", "--shared=8", "--allocation-depth"]
            .iter()
            .map(ToString::to_string)
            .collect();
        arguments.push(format!("--socket={}", socket.display()));
        arguments.push(format!("--format={format}"));
        match kind {
            For::Reading => arguments.push("--read-only".to_owned()),
            For::ReadingChanges => {
                arguments.extend(["--read-only", "--bitmap=cp"].map(str::to_owned));
            }
            For::Writing => {
                arguments.extend(["--discard=unmap", "--detect-zeroes=unmap"].map(str::to_owned));
            }
        }
        let server = serve(&arguments, image, &socket);
        let ticket = format!("canary-ticket-{number}");
        let image = image.to_owned();
        let export = Self { lab, image, socket, arguments, server, ticket };
        export.give_ticket("v4", kind);
        export
    }

    /// Gives a daemon of the lab the ticket.
    pub(crate) fn give_ticket(&self, daemon: &str, kind: For) {
        let ops = if kind == For::Writing { ["write"] } else { ["read"] };
        let size = virtual_size(&self.image);
        let document = json!({
            "uuid": self.ticket, "size": size, "timeout": 300, "inactivity_timeout": 60,
            "url": format!("nbd:unix:{}", self.socket.display()), "ops": ops,
            "sparse": true, "dirty": kind == For::ReadingChanges, "transfer_id": "t",
        });
        self.control(daemon, "PUT", &document.to_string());
    }

    /// Takes the ticket away.
    pub(crate) fn take_ticket(&self) {
        self.control("v4", "DELETE", "");
    }

    /// What the daemon knows of the ticket.
    pub(crate) fn seen_by_daemon(&self) -> Value {
        serde_json::from_str(&self.control("v4", "GET", "")).unwrap()
    }

    fn control(&self, daemon: &str, method: &str, body: &str) -> String {
        let path = self.lab.place.path(format!("l/imageio-{daemon}/control.sock"));
        let mut stream = UnixStream::connect(path).unwrap();
        let ticket = &self.ticket;
        let head = format!("{method} /tickets/{ticket} HTTP/1.1\r\nConnection: close\r\n");
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, document) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 20"), "{method}: {answer}");
        document.to_owned()
    }

    /// Kills the export and starts it anew.
    pub(crate) fn restart_server(&mut self) {
        self.stop_server();
        self.server = serve(&self.arguments, &self.image, &self.socket);
    }

    fn stop_server(&mut self) {
        let _ = self.server.kill();
        self.server.wait().unwrap();
        let _ = std::fs::remove_file(&self.socket);
    }

    /// Where the daemon of host1 shows it.
    pub(crate) fn urls(&self) -> TicketUrls {
        TicketUrls { direct: Some(self.url_at("v4")), proxy: None }
    }

    /// Where a daemon of the lab shows it.
    pub(crate) fn url_at(&self, daemon: &str) -> TicketUrl {
        format!("https://{}/images/{}", self.lab.daemon(daemon).unwrap(), self.ticket).into()
    }

    /// Where the engine's proxy shows it.
    pub(crate) fn proxy_urls(&self) -> TicketUrls {
        let document = json!({
            "uuid": self.ticket, "size": virtual_size(&self.image), "timeout": 300,
            "url": self.url_at("v4").expose(), "ops": ["read"],
        });
        self.control("proxy", "PUT", &document.to_string());
        TicketUrls { direct: None, proxy: Some(self.url_at("proxy")) }
    }

    /// Ends the export, so that the image can be looked at.
    pub(crate) fn end(mut self) {
        // The export makes everything durable when it is asked to end.
        let pid = self.server.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        self.server.wait().unwrap();
    }
}

impl Drop for Export<'_> {
    fn drop(&mut self) {
        self.stop_server();
    }
}

fn serve(arguments: &[String], image: &Path, socket: &Path) -> Child {
    let mut command = Command::new("qemu-nbd");
    command.args(arguments).arg(image).stdin(Stdio::null()).stdout(Stdio::null());
    let server = command.spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while UnixStream::connect(socket).is_err() {
        assert!(Instant::now() < until, "qemu-nbd does not come up");
        std::thread::sleep(Duration::from_millis(10));
    }
    server
}

fn virtual_size(image: &Path) -> u64 {
    let mut command = Command::new("qemu-img");
    let output = command.args(["info", "-U", "--output=json"]).arg(image).output().unwrap();
    let info: Value = serde_json::from_slice(&output.stdout).unwrap();
    info["virtual-size"].as_u64().unwrap()
}

/// Options that trust the lab's hosts, with deadlines for tests.
pub(crate) fn options(lab: &Lab) -> TransferOptions {
    let mut patience = TransferPatience::default();
    patience.retry.first_pause = Duration::from_millis(50);
    patience.quiet = Duration::from_secs(10);
    TransferOptions {
        way: Way::Auto,
        map: AddressMap::default(),
        anchor: Anchor::File(lab.info("internal_ca_file").into()),
        patience,
        connections: 4,
        places: None,
        bandwidth: None,
        may_use_unix_socket: false,
        keeper: None,
        chance: Arc::new(SystemChance),
        cancel: Cancel::default(),
        counters: Arc::new(WireCounters::default()),
    }
}
