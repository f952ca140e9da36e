//! Numbers for what the tree shows.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::base::clock::UtcTime;
use crate::base::id::PointId;
use crate::vfs::attr::Ino;

/// What a number stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Node {
    /// The root.
    Root,
    /// `vms`.
    Vms,
    /// `.backstop`, where the tree shows what its readers have cost.
    About,
    /// `.backstop/stats.json`.
    Stats,
    /// `vms/<vm>`, by its safe name.
    Vm(Arc<str>),
    /// `vms/<vm>/<time>`.
    Point(PointId),
    /// `vms/<vm>/<time>/point.json`.
    Json(PointId),
    /// `vms/<vm>/<time>/vm.ovf`.
    Ovf(PointId),
    /// `vms/<vm>/<time>/<disk>.raw` or `vm.json`, by the place of its map in the restore point.
    Disk(PointId, usize),
    /// `vms/<vm>/latest`. A link that leads elsewhere is another node: the kernel may keep where a
    /// link leads for as long as it keeps the link.
    Latest(Latest),
}

/// Where a link `latest` leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Latest {
    /// Safe name of the VM.
    pub(super) vm: Arc<str>,
    /// Name of the restore point's directory.
    pub(super) target: Arc<str>,
    /// Time of the restore point.
    pub(super) time: UtcTime,
}

/// Gives each node a number when it is first met, and keeps it.
///
/// What is kept is about a hundred bytes for each file that somebody looked at.
#[derive(Debug)]
pub(super) struct Inodes(RwLock<Interned>);

#[derive(Debug)]
struct Interned {
    nodes: Vec<Node>,
    numbers: HashMap<Node, Ino>,
}

impl Default for Inodes {
    fn default() -> Self {
        let numbers = HashMap::from([(Node::Root, Ino::ROOT)]);
        Self(RwLock::new(Interned { nodes: vec![Node::Root], numbers }))
    }
}

impl Inodes {
    /// The number of a node.
    pub(super) fn number(&self, node: &Node) -> Ino {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(ino) = known.numbers.get(node) {
            return *ino;
        }
        drop(known);
        let mut interned = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let next = Ino(interned.nodes.len() as u64 + 1);
        let Interned { nodes, numbers } = &mut *interned;
        *numbers.entry(node.clone()).or_insert_with(|| {
            nodes.push(node.clone());
            next
        })
    }

    /// The node that has the number, if one has.
    pub(super) fn node(&self, ino: Ino) -> Option<Node> {
        let at = usize::try_from(ino.0.checked_sub(1)?).ok()?;
        self.0.read().unwrap_or_else(PoisonError::into_inner).nodes.get(at).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_its_number_and_no_other_gets_it() {
        let inodes = Inodes::default();
        let nodes: Vec<_> =
            (0..50).map(|n| Node::Disk(PointId::from_bytes([n; 16]), n.into())).collect();
        let numbers: Vec<_> = nodes.iter().map(|node| inodes.number(node)).collect();
        for (node, number) in nodes.iter().zip(&numbers) {
            assert_eq!(inodes.number(node), *number);
            assert_eq!(inodes.node(*number).as_ref(), Some(node));
        }
        assert_eq!(inodes.number(&Node::Root), Ino::ROOT);
        assert_eq!(inodes.node(Ino(0)), None);
        assert_eq!(inodes.node(Ino(52)), None);
    }
}
