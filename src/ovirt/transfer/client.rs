//! What can be asked about an image, and done with it.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::ovirt::transfer::counters::WireCounts;
use crate::ovirt::transfer::extents::Extents;
use crate::ovirt::transfer::http::{Connection, Head, Request};
use crate::ovirt::transfer::keep_alive::KeepAlive;
use crate::ovirt::transfer::keeper::TicketUrls;
use crate::ovirt::transfer::listing::{self, Listed};
use crate::ovirt::transfer::local;
use crate::ovirt::transfer::options::{CONNECTIONS_MAX, TransferOptions, Transport};
use crate::ovirt::transfer::pool::Pool;
use crate::ovirt::transfer::trouble::{Attempt, senseless, trouble_of};
use crate::ovirt::transfer::url::ImageUrl;
use crate::ovirt::wire::{Abilities, ImageChange, ImageChecksum};

/// Longest small document.
const DOCUMENT_BYTES_MAX: usize = 64 << 10;
/// Bytes of an image that a daemon must hash in a second, at the least.
const CHECKSUM_RATE: u64 = 16 << 20;

/// An image at a host. Its values share their connections, which are closed with the last of them.
#[derive(Clone)]
pub struct ImageClient {
    pool: Arc<Pool>,
    abilities: Arc<Abilities>,
    _keep_alive: Arc<KeepAlive>,
}

/// Which of the two lists of extents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Context {
    Zero,
    Dirty,
}

impl ImageClient {
    /// Connects, by another way if need be, and asks what can be done.
    pub fn open(urls: &TicketUrls, options: TransferOptions) -> Result<Self> {
        let pool = Arc::new(Pool::new(urls, options)?);
        let (abilities, is_here) = pool.with(|connection, url| {
            let abilities = describe(connection, url, pool.options())?;
            Ok((abilities, connection.wire().is_to_this_machine()))
        })?;
        let keep_alive = KeepAlive::start(&pool, pool.options().patience.keep_alive)?;
        let (abilities, _keep_alive) = (Arc::new(abilities), Arc::new(keep_alive));
        let client = Self { pool, abilities, _keep_alive };
        if is_here && client.pool.options().may_use_unix_socket {
            local::go_local(&client.pool, &client.abilities);
        }
        Ok(client)
    }

    /// What the daemon can do.
    #[must_use]
    pub fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// By which way bytes travel now.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.pool.route().transport
    }

    /// Each change to another way so far, with its reason.
    #[must_use]
    pub fn fallbacks(&self) -> Vec<String> {
        self.pool.fallbacks()
    }

    /// What went over the wire so far, for this image and for all that share the counters.
    #[must_use]
    pub fn counters(&self) -> WireCounts {
        self.pool.options().counters.counts()
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Allows as many connections as were asked for and the daemon wants.
    pub(super) fn widen(&self, wanted_by_daemon: Option<u64>) -> usize {
        let daemon = usize::try_from(wanted_by_daemon.unwrap_or(1)).unwrap_or(CONNECTIONS_MAX);
        let max = self.pool.options().connections.min(daemon).clamp(1, CONNECTIONS_MAX);
        self.pool.set_max(max);
        max
    }

    /// What is data and what is zero; nothing if the daemon cannot tell.
    pub fn zero_extents(&self) -> Result<Option<Extents>> {
        Ok(self.extents(Context::Zero)?.map(|listed| listed.extents))
    }

    /// What changed since the checkpoint that the backup begins from, and what of that is zero;
    /// nothing if there is no such list: everything has to be read then.
    pub fn dirty_extents(&self) -> Result<Option<Extents>> {
        let Some(listed) = self.extents(Context::Dirty)? else { return Ok(None) };
        if !listed.lacks_zeros {
            return Ok(Some(listed.extents));
        }
        let zeros = self.zero_extents()?;
        Ok(Some(zeros.map_or(listed.extents.clone(), |zeros| listed.extents.with_zeros_of(&zeros))))
    }

    fn extents(&self, context: Context) -> Result<Option<Listed>> {
        if !self.abilities.can("extents") {
            return Ok(None);
        }
        let (query, is_dirty) = match context {
            Context::Zero => ("/extents?context=zero", false),
            Context::Dirty => ("/extents?context=dirty", true),
        };
        self.pool.with(|connection, url| {
            let work = self.pool.options().patience.work;
            let request = Request { answer_within: work, quiet_max: work, ..self.get(url, query) };
            let head = connection.exchange(&request)?;
            match head.status {
                200 => listing::read(connection, is_dirty).map(Some),
                404 | 405 => {
                    connection.read_whole(DOCUMENT_BYTES_MAX)?;
                    Ok(None)
                }
                _ => Err(trouble_of(&head, connection, url)),
            }
        })
    }

    fn get(&self, url: &ImageUrl, rest: &str) -> Request<'static> {
        let quiet = self.pool.options().patience.quiet;
        let target = url.target(rest);
        let (answer_within, quiet_max) = (quiet, quiet);
        Request { method: "GET", target, header: None, body: b"", answer_within, quiet_max }
    }

    /// Length of the image, in bytes, for daemons that cannot list extents.
    pub fn size_bytes(&self) -> Result<u64> {
        self.pool.with(|connection, url| {
            let head = self.ask_range(connection, url, 0, 1)?;
            connection.read_whole(1)?;
            Ok(head.range.map_or(0, |range| range.size_bytes))
        })
    }

    /// Asks for `len` bytes at `from`. What arrives afterwards is exactly them.
    pub(super) fn ask_range(
        &self,
        connection: &mut Connection,
        url: &ImageUrl,
        from: u64,
        len: u64,
    ) -> Attempt<Head> {
        let header = Some(("Range", format!("bytes={from}-{}", from + len - 1)));
        let head = connection.exchange(&Request { header, ..self.get(url, "") })?;
        match (head.status, head.range) {
            (206, Some(range)) if range.from == from && head.body_bytes == len => Ok(head),
            (200 | 206, _) => Err(senseless("the host answered with other bytes than asked for")),
            _ => Err(trouble_of(&head, connection, url)),
        }
    }

    /// The checksum of the whole image as the daemon computes it, in hexadecimal digits: the hash
    /// of the hashes of all blocks of `block_bytes` bytes, the last of which may be shorter.
    pub fn checksum(&self, algorithm: &str, block_bytes: u64, size_bytes: u64) -> Result<String> {
        if !self.abilities.can("checksum") {
            let what = "the host is too old to compute checksums of images";
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if !algorithm.bytes().all(is_name) {
            return Err(Error::new(ErrorKind::Invalid, "no name of an algorithm"));
        }
        let query = format!("/checksum?algorithm={algorithm}&block_size={block_bytes}");
        let work = self.pool.options().patience.work;
        let answer_within = work + Duration::from_secs(size_bytes / CHECKSUM_RATE);
        self.pool.with(|connection, url| {
            let request = Request { answer_within, ..self.get(url, &query) };
            let head = connection.exchange(&request)?;
            if head.status != 200 {
                return Err(trouble_of(&head, connection, url));
            }
            let document = connection.read_whole(DOCUMENT_BYTES_MAX)?;
            let document: ImageChecksum = serde_json::from_slice(&document)
                .map_err(|_| senseless("the host's checksum makes no sense"))?;
            Ok(document.checksum)
        })
    }

    /// Writes `bytes` at `from`. They are not durable yet where the daemon can flush by itself.
    pub(super) fn put(&self, from: u64, bytes: &[u8]) -> Result<()> {
        let query = if self.abilities.can("flush") { "?flush=n" } else { "" };
        let range = format!("bytes {from}-{}/*", from + bytes.len() as u64 - 1);
        self.pool.with(|connection, url| {
            let header = Some(("Content-Range", range.clone()));
            let get = self.get(url, query);
            change(connection, url, &Request { method: "PUT", header, body: bytes, ..get })
        })
    }

    /// Changes the image without data.
    pub(super) fn patch(&self, what: ImageChange) -> Result<()> {
        self.pool.with(|connection, url| self.patch_on(connection, url, what))
    }

    pub(super) fn patch_on(
        &self,
        connection: &mut Connection,
        url: &ImageUrl,
        what: ImageChange,
    ) -> Attempt<()> {
        let body = serde_json::to_vec(&what)
            .map_err(|error| Error::new(ErrorKind::Invalid, "no request").because(error))?;
        let header = Some(("Content-Type", "application/json".to_owned()));
        let answer_within = self.pool.options().patience.work;
        let get = self.get(url, "");
        let request = Request { method: "PATCH", header, body: &body, answer_within, ..get };
        change(connection, url, &request)
    }
}

fn change(connection: &mut Connection, url: &ImageUrl, request: &Request<'_>) -> Attempt<()> {
    let head = connection.exchange(request)?;
    match head.status {
        200 | 204 => {
            connection.read_whole(DOCUMENT_BYTES_MAX)?;
            Ok(())
        }
        _ => Err(trouble_of(&head, connection, url)),
    }
}

/// Asks what can be done with the ticket. Daemons that know no such question can do little.
pub(super) fn describe(
    connection: &mut Connection,
    url: &ImageUrl,
    options: &TransferOptions,
) -> Attempt<Abilities> {
    let quiet = options.patience.quiet;
    let head = connection.exchange(&Request {
        method: "OPTIONS",
        target: url.target(""),
        header: None,
        body: b"",
        answer_within: quiet,
        quiet_max: quiet,
    })?;
    match head.status {
        200 => {
            let document = connection.read_whole(DOCUMENT_BYTES_MAX)?;
            serde_json::from_slice(&document)
                .map_err(|_| senseless("what the host can do makes no sense"))
        }
        204 | 404 | 405 => {
            connection.read_whole(DOCUMENT_BYTES_MAX)?;
            Ok(Abilities::default())
        }
        _ => Err(trouble_of(&head, connection, url)),
    }
}
