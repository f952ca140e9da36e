//! Questions to whoever sits at the terminal, asked there and not on standard input or output.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use crate::base::secret::Secret;
use crate::cli::output::printable;
use crate::cli::sys::Hidden;
use crate::error::{Error, ErrorKind, IoContext, Result};

const TERMINAL: &str = "/dev/tty";
/// A terminal hands out no longer line.
const LINE_BYTES_MAX: usize = 4096;
/// What the key for interrupting types while it interrupts nothing.
const INTERRUPT: u8 = 3;

/// Asks for something that is not shown while it is typed; none where there is no terminal.
pub(super) fn ask_secret(question: &str) -> Result<Option<Secret>> {
    let Some(mut terminal) = ask_for(question)? else { return Ok(None) };
    let hidden = Hidden::begin(&terminal).context("cannot hide what is typed", place())?;
    let line = read_line(&mut (&terminal));
    drop(hidden);
    // What was typed ended with a line break that was not shown.
    let _ = terminal.write_all(b"\n");
    let line = line?.trimmed();
    match line.expose() {
        [] => Err(Error::new(ErrorKind::Invalid, "nothing was typed")),
        [.., INTERRUPT] => Err(Error::new(ErrorKind::Cancelled, "the question was interrupted")),
        _ => Ok(Some(line)),
    }
}

/// Asks whether to go on; none where there is no terminal.
pub(super) fn ask_to_go_on(question: &str) -> Result<Option<bool>> {
    let Some(mut terminal) = ask_for(&format!("{question} (yes/no) "))? else { return Ok(None) };
    let line = read_line(&mut terminal)?.trimmed();
    Ok(Some(line.expose().eq_ignore_ascii_case(b"yes")))
}

fn ask_for(question: &str) -> Result<Option<File>> {
    let Ok(mut terminal) = OpenOptions::new().read(true).write(true).open(TERMINAL) else {
        return Ok(None);
    };
    let asked = terminal.write_all(printable(question).as_bytes());
    asked.context("cannot ask at the terminal", place())?;
    Ok(Some(terminal))
}

fn read_line(terminal: &mut impl Read) -> Result<Secret> {
    let mut line = Secret::new(vec![0; LINE_BYTES_MAX]);
    let len = terminal.read(line.expose_mut()).context("cannot read from the terminal", place())?;
    let mut typed = Secret::with_capacity(len);
    typed.push(&line.expose()[..len]);
    Ok(typed)
}

fn place() -> &'static Path {
    Path::new(TERMINAL)
}
