//! The mounted tree without a kernel, over stores in memory.

#[path = "vfs/configuration.rs"]
mod configuration;
#[path = "vfs/damage.rs"]
mod damage;
#[path = "vfs/extents.rs"]
mod extents;
#[path = "vfs/listing.rs"]
mod listing;
#[path = "vfs/overlay.rs"]
mod overlay;
#[path = "vfs/reads.rs"]
mod reads;
#[path = "support/repo.rs"]
mod support;

use std::ffi::OsStr;
use std::time::Duration;

use backstop::error::Result;
use backstop::repo::Repository;
use backstop::vfs::{Access, Attr, HandleId, Ino, Tree, TreeOptions};

/// A tree that looks anew every time and reads nothing ahead.
fn tree(repo: &Repository) -> Tree {
    tree_with(repo, 64 << 20, 0)
}

fn tree_with(repo: &Repository, cache_bytes: usize, read_ahead_threads: usize) -> Tree {
    let options = TreeOptions {
        cache_bytes,
        read_ahead_threads,
        look_interval: Duration::ZERO,
        ..TreeOptions::default()
    };
    Tree::new(repo.clone(), &options).unwrap()
}

/// What a path from the root leads to; links are followed in the last part but one.
fn walk(tree: &Tree, path: &str) -> Result<Attr> {
    let mut attr = tree.attr(Ino::ROOT)?;
    let mut directory = attr.ino;
    for name in path.split('/') {
        attr = tree.lookup(directory, OsStr::new(name))?;
        if name == "latest" {
            let target = tree.read_link(attr.ino)?;
            attr = tree.lookup(directory, OsStr::new(&*target))?;
        }
        directory = attr.ino;
    }
    Ok(attr)
}

fn open(tree: &Tree, path: &str) -> HandleId {
    tree.open(walk(tree, path).unwrap().ino, Access::Read).unwrap()
}

fn read(tree: &Tree, handle: HandleId, offset: u64, size: usize) -> Result<Vec<u8>> {
    tree.read(handle, offset, size, <[u8]>::to_vec)
}

fn names(tree: &Tree, path: &str) -> Vec<String> {
    let ino = if path.is_empty() { Ino::ROOT } else { walk(tree, path).unwrap().ino };
    let handle = tree.open_directory(ino).unwrap();
    let entries = tree.read_directory(handle, 0).unwrap();
    tree.close(handle);
    entries.iter().map(|entry| entry.name.to_string()).collect()
}
