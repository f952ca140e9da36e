//! Past the network, where the daemon runs on this machine.

use std::sync::Arc;

use crate::ovirt::transfer::client::describe;
use crate::ovirt::transfer::options::Transport;
use crate::ovirt::transfer::pool::Pool;
use crate::ovirt::transfer::route::Route;
use crate::ovirt::wire::Abilities;

/// Goes by the daemon's own socket if it is proven to be there: the connection so far, whose other
/// end has shown its certificate, must lead to an address of this machine (which the caller has
/// seen), and whoever listens at the socket must know the ticket and answer as the daemon did.
pub(super) fn go_local(pool: &Pool, abilities: &Abilities) {
    let current = pool.route();
    let (Transport::Direct, Some(socket)) = (current.transport, &abilities.unix_socket) else {
        return;
    };
    let route = Route {
        number: current.number + 1,
        transport: Transport::Unix,
        url: Arc::clone(&current.url),
        socket: Some(socket.clone()),
    };
    let described = route
        .connect(pool.options(), None)
        .and_then(|mut connection| describe(&mut connection, &route.url, pool.options()));
    match described {
        Ok(found) if found == *abilities => pool.go_by(route),
        Ok(_) => log::debug!("image transfer: another daemon listens at the local socket"),
        Err(trouble) => log::debug!("image transfer: not by the local socket: {trouble:?}"),
    }
}
