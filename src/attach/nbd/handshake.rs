//! From a new connection to its first request.

use std::io::{self, IoSlice, Read};
use std::time::{Duration, Instant};

use crate::attach::nbd::export::ExportFacts;
use crate::attach::nbd::haggling::{
    self, Agreed, Haggling, Next, OPTION_BYTES_MAX, OPTION_HEADER_BYTES, OptionHeader,
};
use crate::attach::nbd::socket::Socket;

/// How long a client may haggle. Those that never come to the point must not take places for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was agreed on with the client; none where it left, or does not keep to the protocol.
pub(super) fn shake_hands(socket: &Socket, facts: &ExportFacts) -> io::Result<Option<Agreed>> {
    let mut client = Impatient { socket, until: Instant::now() + PATIENCE };
    let agreed = haggle(&mut client, facts)?;
    socket.set_timeout(None)?;
    Ok(agreed)
}

fn haggle(client: &mut Impatient<'_>, facts: &ExportFacts) -> io::Result<Option<Agreed>> {
    client.send(&haggling::greeting())?;
    let flags = u32::from_be_bytes(client.array()?);
    let Some(mut haggling) = Haggling::begin(facts, flags) else { return Ok(None) };
    loop {
        let header: [u8; OPTION_HEADER_BYTES] = client.array()?;
        let Some(header) = OptionHeader::decode(&header) else { return Ok(None) };
        let (bytes, next) = match header.len <= OPTION_BYTES_MAX {
            true => {
                let mut data = vec![0; header.len as usize];
                client.read_exact(&mut data)?;
                haggling.answer(header.code, &data)
            }
            false => {
                let mut data = (&mut *client).take(header.len.into());
                io::copy(&mut data, &mut io::sink())?;
                haggling.refuse_length(header.code)
            }
        };
        client.send(&bytes)?;
        match next {
            Next::Option => {}
            Next::Transmission(agreed) => return Ok(Some(agreed)),
            Next::End => return Ok(None),
        }
    }
}

/// A connection whose time is measured as a whole, however slowly bytes trickle.
struct Impatient<'a> {
    socket: &'a Socket,
    until: Instant,
}

impl Impatient<'_> {
    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.arm()?;
        self.socket.send(&mut [IoSlice::new(bytes)])
    }

    fn arm(&self) -> io::Result<()> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => self.socket.set_timeout(Some(left)),
        }
    }
}

impl Read for Impatient<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.arm()?;
        (&*self.socket).read(out)
    }
}
