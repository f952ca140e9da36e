//! Who is connected to a server of another process, as the kernel tells it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::attach::nbd::address::Address;
use crate::error::{IoContext, Result};

/// Clients that are connected to the server that listens at an address.
pub fn clients(address: &Address) -> Result<usize> {
    match address {
        Address::Unix(path) => count(&["unix"], |table| unix_clients(table, path)),
        Address::Tcp { port, .. } => count(&["tcp", "tcp6"], |table| tcp_clients(table, *port)),
    }
}

fn count(tables: &[&str], of: impl Fn(&str) -> usize) -> Result<usize> {
    let mut found = 0;
    for table in tables {
        let path = PathBuf::from("/proc/net").join(table);
        // Without IPv6 there is no table of it.
        if path.exists() {
            let text = fs::read(&path).context("cannot tell who is connected", &path)?;
            found += of(&String::from_utf8_lossy(&text));
        }
    }
    Ok(found)
}

/// The server's ends of connections have the path of its socket, and the state 03.
fn unix_clients(table: &str, path: &Path) -> usize {
    let is_client = |line: &&str| {
        let mut fields = line.split_ascii_whitespace();
        fields.nth(5) == Some("03") && fields.nth(1).is_some_and(|found| Path::new(found) == path)
    };
    table.lines().skip(1).filter(is_client).count()
}

/// The server's ends of connections have its port, and the state 01.
fn tcp_clients(table: &str, port: u16) -> usize {
    let port = format!("{port:04X}");
    let is_client = |line: &&str| {
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1).and_then(|address| address.rsplit_once(':'));
        local.is_some_and(|(_, found)| found == port) && fields.nth(1) == Some("01")
    };
    table.lines().skip(1).filter(is_client).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_the_server_are_counted_and_not_those_of_its_clients() {
        let unix = "Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 71846 /run/web.sock
0000000000000000: 00000003 00000000 00000000 0001 03 71850 /run/web.sock
0000000000000000: 00000003 00000000 00000000 0001 03 71849
0000000000000000: 00000003 00000000 00000000 0001 03 71852 /run/other.sock\n";
        assert_eq!(unix_clients(unix, Path::new("/run/web.sock")), 1);
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt
   0: 0100007F:2A39 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   1: 0100007F:2A39 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0
   2: 0100007F:C350 0100007F:2A39 01 00000000:00000000 00:00000000 00000000     0\n";
        assert_eq!(tcp_clients(tcp, 10809), 1);
    }
}
