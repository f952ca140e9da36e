//! Options of views that can be written.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::failure::{Failure, Result};
use crate::cli::size;
use crate::vfs::OverlayOptions;

/// Where overlays lie unless somebody says otherwise. Not `/tmp`, which is often memory.
const DEFAULT_DIR: &str = "/var/tmp";

#[derive(clap::Args, Debug)]
pub(super) struct WritableArgs {
    /// Let disks be written; what is written never reaches the repository
    #[arg(long)]
    writable: bool,

    /// Existing directory for what is written [default: /var/tmp]
    #[arg(long, value_name = "DIR", requires = "writable")]
    overlay: Option<PathBuf>,

    /// Bytes that may be written in all, like 20GiB [default: as many as fit]
    #[arg(long, value_name = "SIZE", requires = "writable", value_parser = size::parse)]
    overlay_limit: Option<u64>,

    /// Keep what is written for the next view with the same directory, instead of throwing it away
    #[arg(long, requires = "overlay")]
    keep: bool,
}

/// How a view is written to, in JSON.
#[derive(Serialize)]
pub(super) struct OverlayDocument {
    directory: String,
    limit_bytes: Option<u64>,
    kept: bool,
}

impl OverlayDocument {
    pub(super) fn new(options: &OverlayOptions) -> Self {
        Self {
            directory: options.dir.to_string_lossy().into_owned(),
            limit_bytes: options.limit_bytes,
            kept: options.keep,
        }
    }
}

impl WritableArgs {
    /// The overlay that was asked for, if one was.
    pub(super) fn options(&self) -> Result<Option<OverlayOptions>> {
        if !self.writable {
            return Ok(None);
        }
        let dir = self.overlay.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_DIR));
        if !dir.is_dir() {
            return Err(missing(&dir));
        }
        Ok(Some(OverlayOptions { dir, limit_bytes: self.overlay_limit, keep: self.keep }))
    }

    /// What becomes of what is written, as a line for people; empty where nothing can be.
    pub(super) fn text(&self) -> String {
        let dir = self.overlay.as_deref().unwrap_or(Path::new(DEFAULT_DIR)).display();
        match (self.writable, self.keep) {
            (false, _) => String::new(),
            (true, false) => {
                format!("disks can be written; that lies in {dir} and ends with this\n")
            }
            (true, true) => format!("disks can be written; that is kept in {dir}\n"),
        }
    }
}

fn missing(dir: &Path) -> Failure {
    Failure::usage(format!("the directory {} for the overlay is not there", dir.display()))
}
